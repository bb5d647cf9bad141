"""What is not native in the short OpInfo sweep, and why; opinfo_collect.py writes this file.

An entry is an operator, for every dtype that it takes, or operator/dtype. Whatever has no entry
must be native.
"""

# No samples that eager runs on a CPU.
NONE = {
  'jiterator_2inputs_2outputs',
  'jiterator_4inputs_with_extra_args',
  'jiterator_binary',
  'jiterator_binary_return_by_ref',
  'jiterator_unary',
}

# Some calls run in PyTorch, by the reason of the first such call.
FALLBACK = {
  'K1300: kiln has no implementation of this operator': """
    _batch_norm_with_update _chunk_cat _segment_reduce.lengths _segment_reduce.offsets
    _softmax_backward_data _unsafe_masked_index _unsafe_masked_index_put_accumulate
    _upsample_bilinear2d_aa angle as_strided_scatter bernoulli block_diag cartesian_prod cauchy
    cdist cholesky cholesky_inverse cholesky_solve cross cummax cummin cumulative_trapezoid diagflat
    digamma dist dsplit dstack empty_permuted empty_strided erfinv exponential fft.fftshift fft.hfft
    fft.hfft2 fft.hfftn fft.ifftshift fft.irfft fft.irfft2 fft.irfftn frexp gcd geometric geqrf
    gradient grid_sampler_2d grid_sampler_3d histc histogram histogramdd hsplit i0 igamma igammac
    index_reduce.amax index_reduce.amin index_reduce.mean index_reduce.prod isin isreal kron
    kthvalue lcm lgamma linalg.cholesky linalg.cholesky_ex linalg.cond linalg.det linalg.eigh
    linalg.eigvalsh linalg.householder_product linalg.inv linalg.inv_ex linalg.ldl_factor
    linalg.ldl_factor_ex linalg.ldl_solve linalg.lu linalg.lu_factor linalg.lu_factor_ex
    linalg.lu_solve linalg.matrix_norm linalg.matrix_power linalg.matrix_rank
    linalg.matrix_rank.hermitian linalg.multi_dot linalg.norm linalg.norm.subgradients_at_zero
    linalg.pinv linalg.pinv.hermitian linalg.pinv.singular linalg.qr linalg.slogdet linalg.solve
    linalg.solve_ex linalg.solve_triangular linalg.svd linalg.svdvals linalg.tensorinv
    linalg.tensorsolve linalg.vander linalg.vecdot linspace.tensor_overload log_normal logcumsumexp
    logdet logspace logspace.tensor_overload lu lu_solve lu_unpack masked.median masked_scatter
    matrix_exp max_pool2d_with_indices_backward median mode multinomial mvlgamma.mvlgamma_p_1
    mvlgamma.mvlgamma_p_3 mvlgamma.mvlgamma_p_5 nanmedian native_dropout_backward new_empty_strided
    nextafter nn.functional.bilinear nn.functional.binary_cross_entropy
    nn.functional.binary_cross_entropy_with_logits nn.functional.cosine_embedding_loss
    nn.functional.cross_entropy nn.functional.embedding_bag nn.functional.fractional_max_pool2d
    nn.functional.fractional_max_pool3d nn.functional.grid_sample nn.functional.hinge_embedding_loss
    nn.functional.huber_loss nn.functional.kl_div nn.functional.margin_ranking_loss
    nn.functional.max_unpool1d nn.functional.max_unpool1d.grad nn.functional.max_unpool2d
    nn.functional.max_unpool2d.grad nn.functional.max_unpool3d nn.functional.max_unpool3d.grad
    nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss nn.functional.nll_loss
    nn.functional.pairwise_distance nn.functional.pdist nn.functional.poisson_nll_loss
    nn.functional.smooth_l1_loss nn.functional.soft_margin_loss nn.functional.triplet_margin_loss
    nn.functional.triplet_margin_with_distance_loss nn.functional.unfold nonzero_static norm.nuc
    normal normal.in_place normal.number_mean ormqr pca_lowrank pinverse polygamma.polygamma_n_0
    polygamma.polygamma_n_1 polygamma.polygamma_n_2 polygamma.polygamma_n_3 polygamma.polygamma_n_4
    put qr rand_like randint randint_like randn randn_like renorm resize_as_ searchsorted
    special.airy_ai special.bessel_j0 special.bessel_j1 special.bessel_y0 special.bessel_y1
    special.chebyshev_polynomial_t special.chebyshev_polynomial_u special.chebyshev_polynomial_v
    special.chebyshev_polynomial_w special.entr special.erfcx special.hermite_polynomial_h
    special.hermite_polynomial_he special.i0e special.i1 special.i1e special.laguerre_polynomial_l
    special.legendre_polynomial_p special.log_ndtr special.modified_bessel_i0
    special.modified_bessel_i1 special.modified_bessel_k0 special.modified_bessel_k1 special.ndtr
    special.ndtri special.polygamma.special_polygamma_n_0 special.scaled_modified_bessel_k0
    special.scaled_modified_bessel_k1 special.shifted_chebyshev_polynomial_t
    special.shifted_chebyshev_polynomial_u special.shifted_chebyshev_polynomial_v
    special.shifted_chebyshev_polynomial_w special.spherical_bessel_j0 special.xlog1py special.zeta
    sum_to_size svd svd_lowrank trapezoid trapz triangular_solve tril_indices triu_indices uniform
    vsplit
  """,
  'K1301: batch norm in training mode': """
    _native_batch_norm_legit native_batch_norm nn.functional.batch_norm nn.functional.instance_norm
  """,
  'K1301: dropout in training mode': """
    nn.functional.feature_alpha_dropout.with_train nn.functional.multi_head_attention_forward
  """,
  'K1301: index into a scalar': """
    index_add index_copy index_fill
  """,
  'K1301: integer linspace': """
    linspace/i64
  """,
  'K1301: rrelu in training mode': """
    nn.functional.rrelu
  """,
  'K1301: uninitialised memory': """
    empty empty_like new_empty
  """,
  'K1301: windows of a scalar': """
    unfold unfold_copy
  """,
  'K1302: operand exists only in pytorch': """
    imag istft nn.functional.silu.complex sparse.mm.reduce sparse.sampled_addmm unique_consecutive
    view_as_real
  """,
  'K1302: result exists only in pytorch': """
    argwhere bincount cdouble cfloat chalf combinations complex fft.fft fft.fft2 fft.fftn fft.ifft
    fft.ifft2 fft.ifftn fft.ihfft fft.ihfft2 fft.ihfftn fft.rfft fft.rfft2 fft.rfftn hash_tensor item
    linalg.eig linalg.eigvals masked_select nonzero polar stft to_sparse unique view_as_complex
  """,
  "K1303: result's shape depends on a mask": """
    index_put
  """,
  'K2203: avg_pool: dtype of x must be float, is i64': """
    nn.functional.avg_pool1d/i64 nn.functional.avg_pool2d/i64 nn.functional.avg_pool3d/i64
    nn.functional.local_response_norm/i64
  """,
  'K2203: conv: dtype of x must be float, is i64': """
    nn.functional.conv1d/i64 nn.functional.conv2d/i64 nn.functional.conv3d/i64
  """,
  'K2203: conv_transpose: dtype of x must be float, is i64': """
    nn.functional.conv_transpose1d/i64 nn.functional.conv_transpose2d/i64
    nn.functional.conv_transpose3d/i64
  """,
  'K2203: linear: dtype of x must be float, is i64': """
    nn.functional.linear/i64
  """,
  'K2203: max_pool: dtype of x must be float, is i64': """
    nn.functional.max_pool2d/i64 nn.functional.max_pool3d/i64
  """,
  'K2203: reduce_argmax: dtype of x must be float or integer, is bool': """
    max.reduction_with_dim/bool
  """,
  'K2203: reduce_argmin: dtype of x must be float or integer, is bool': """
    min.reduction_with_dim/bool
  """,
  'K2203: scatter: reduction of bool elements': """
    scatter/bool scatter_add/bool scatter_reduce.amax/bool scatter_reduce.amin/bool
    scatter_reduce.prod/bool scatter_reduce.sum/bool
  """,
  'K2203: sign: dtype of x must be float or integer, is bool': """
    sgn/bool sign/bool
  """,
  'K2203: square: dtype of x must be float or integer, is bool': """
    square/bool
  """,
  'K2205: clamp': """
    nn.functional.hardtanh/i64
  """,
  'K2205: layer_norm': """
    nn.functional.layer_norm
  """,
  'K2205: pad': """
    nn.functional.pad.replicate_negative
  """,
  'K2205: rms_norm': """
    nn.functional.rms_norm
  """,
  'K2412: no cpu kernel': """
    __rmatmul__/i64 addbmm/i64 addmm/i64 addmm.decomposed/i64 addmv/i64 baddbmm/i64 bmm/i64 dot/i64
    einsum/i64 matmul/i64 mm/i64 mv/i64 tensordot/i64 vdot/i64
  """,
  'aten::transpose.int,: aten::matmul K2412 no cpu kernel': """
    inner/i64
  """,
}

# kiln.compile raises kiln.Error, by its code and message.
REFUSAL = {
  'K1102: torch.export: DataDependentOutputException': """
    allclose corrcoef cov equal nanquantile quantile
  """,
  'K1102: torch.export: DynamicOutputShapeException': """
    linalg.lstsq linalg.lstsq.grad_oriented nn.functional.ctc_loss
  """,
  'K1102: torch.export: GuardOnDataDependentSymNode': """
    nn.functional.gaussian_nll_loss nn.functional.one_hot tensor_split
  """,
  'K1102: torch.export: PendingUnbackedSymbolNotFound': """
    narrow
  """,
  'K1304: an operator changes the shape of the tensor that it writes': """
    resize_
  """,
}

# Known defects: case -> what is at fault.
WRONG = {}


def entries() -> list[str]:
  """All entries, WRONG's cases apart."""
  return [entry for table in (FALLBACK, REFUSAL) for names in table.values()
          for entry in names.split()]


_OUTCOMES = {entry: (outcome, reason)
             for outcome, table in (("fallback", FALLBACK), ("refusal", REFUSAL))
             for reason, names in table.items() for entry in names.split()}


def lookup(name: str, dtype: str) -> tuple[str, str]:
  """(outcome, reason) of a case."""
  return _OUTCOMES.get(f"{name}/{dtype}") or _OUTCOMES.get(name) or ("native", "")
