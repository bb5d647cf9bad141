"""Rows of the settings: the fields of CompilationSettings, and the arguments beside them."""

from __future__ import annotations

from . import ACCEPTED, RAISES, WORKS, Row, Section

_DLA = "there is no DLA whose memory it would size"
_AUTOCAST = "it only speaks to enable_autocast, which raises"
_NO_TIMING = "kernels are chosen by rules; none are timed"
_PRECISION = ("precision=\"fp16\" or \"bf16\" lowers float32 by Kiln's own rules "
              "(docs/precision.md); torch.autocast inside the model is honoured")


def _of(prefix: str, *rows: Row) -> tuple[Row, ...]:
  return tuple(Row(prefix + row.name, row.status, row.text, row.values) for row in rows)


SECTIONS = (
  Section("Settings", "Arguments of `compile`, `dynamo.compile` and `torch.compile(options=)`, and "
          "fields of `dynamo.CompilationSettings`.", (
    Row("dynamo.CompilationSettings", WORKS, "a dataclass; refuses what the rows below refuse"),
    *_of(
      "CompilationSettings.",
      Row("workspace_size", ACCEPTED, "scratch memory is what the plan needs: it is laid out "
          "before the first run, and no kernel asks for more"),
      Row("min_block_size", WORKS, "kiln.compile's min_block_size; not given: 1, as a short native "
          "run costs next to nothing here"),
      Row("torch_executed_ops", WORKS, "kiln.compile's torch_executed_ops"),
      Row("pass_through_build_failures", WORKS, "torch.compile only: False, the default, warns and "
          "leaves a graph that does not build to PyTorch; True raises. Ahead of time a failure "
          "always raises"),
      Row("max_aux_streams", ACCEPTED, "steps run in order on the caller's threads"),
      Row("version_compatible", ACCEPTED, "every file can be read by later versions of the same "
          "format"),
      Row("optimization_level", ACCEPTED, "there is one level, the highest"),
      Row("truncate_double", ACCEPTED, "double stays double: results are at least as exact"),
      Row("use_complex_decomposition", ACCEPTED, "complex values are computed by PyTorch"),
      Row("use_fast_partitioner", ACCEPTED, "one partitioner, which makes the fewest segments"),
      Row("enable_experimental_decompositions", ACCEPTED, "the operators that Kiln has are not "
          "decomposed, all others are; results do not depend on it"),
      Row("device", WORKS, "the processor; not given: where the model's parameters are", "cpu"),
      Row("device", RAISES, "this build computes on the CPU: leave the device out or pass "
          'Device("cpu")', "cuda, gpu, dla"),
      Row("require_full_compilation", WORKS, "kiln.compile's strict: an operator left to PyTorch "
          "is an error (K2001). Through every door"),
      Row("disable_tf32", ACCEPTED, "float32 is always computed in float32"),
      Row("assume_dynamic_shape_support", ACCEPTED, "every kernel takes dynamic sizes"),
      Row("sparse_weights", ACCEPTED, "a permission that is not used"),
      Row("engine_capability", ACCEPTED, "what is built anyway", "STANDARD"),
      Row("engine_capability", RAISES, "leave it out", "SAFETY, DLA_STANDALONE"),
      Row("num_avg_timing_iters", ACCEPTED, _NO_TIMING),
      Row("dla_sram_size", ACCEPTED, _DLA),
      Row("dla_local_dram_size", ACCEPTED, _DLA),
      Row("dla_global_dram_size", ACCEPTED, _DLA),
      Row("dryrun", WORKS, "ahead of time: prints the report of kiln.explain (a path: writes it "
          "there), builds nothing and returns the model as it was", "True or a path"),
      Row("dryrun", RAISES, "kiln.explain(model, inputs=[...]), or compile(dryrun=True) ahead of "
          "time", "through torch.compile"),
      Row("hardware_compatible", ACCEPTED, "a file runs on every x86-64 CPU that Kiln supports"),
      Row("timing_cache_path", ACCEPTED, _NO_TIMING),
      Row("lazy_engine_init", ACCEPTED, "a model is one program, ready when it is compiled"),
      Row("cache_built_engines", WORKS, "Kiln keeps compiled programs on disk unless told not to: "
          "both False turn the cache off", "with reuse_cached_engines"),
      Row("cache_built_engines", ACCEPTED, "the cache is one switch, which both settings turn off "
          "together", "False alone"),
      Row("reuse_cached_engines", WORKS, "see cache_built_engines", "with cache_built_engines"),
      Row("reuse_cached_engines", ACCEPTED, "the cache is one switch, which both settings turn off "
          "together", "False alone"),
      Row("use_fp32_acc", ACCEPTED, "sums are always float32"),
      Row("refit_identical_engine_weights", ACCEPTED, "any weights of the same shapes can be taken "
          "in"),
      Row("strip_engine_weights", WORKS, "of the engine conversions: the file holds no weights and "
          "asks for them when it is loaded", "True, converting to an engine"),
      Row("strip_engine_weights", RAISES, "a program borrows the model's weights and has no copy "
          "to strip; the engine conversions write a file without weights", "True, compiling"),
      Row("immutable_weights", ACCEPTED, "weights can always be replaced"),
      Row("enable_weight_streaming", RAISES, "weights lie once in the memory of the processor that "
          "computes; there is nothing to stream", "True"),
      Row("enable_cross_compile_for_windows", RAISES, "Kiln does not build for Windows yet",
          "True"),
      Row("tiling_optimization_level", ACCEPTED, "tiles are chosen by rules, for the caches of the "
          "CPU"),
      Row("l2_limit_for_tiling", ACCEPTED, "tiles are chosen by rules, for the caches of the CPU"),
      Row("use_distributed_mode_trace", ACCEPTED, "graphs of torch.compile always come through "
          "AOTAutograd; a DTensor is refused (K1104)"),
      Row("offload_module_to_cpu", ACCEPTED, "the model is there"),
      Row("enable_autocast", RAISES, _PRECISION, "True"),
      Row("autocast_low_precision_type", ACCEPTED, _AUTOCAST),
      Row("autocast_excluded_nodes", ACCEPTED, _AUTOCAST),
      Row("autocast_excluded_ops", ACCEPTED, _AUTOCAST),
      Row("autocast_max_output_threshold", ACCEPTED, _AUTOCAST),
      Row("autocast_max_depth_of_reduction", ACCEPTED, _AUTOCAST),
      Row("autocast_calibration_dataloader", ACCEPTED, _AUTOCAST),
      Row("enable_resource_partitioning", ACCEPTED, "weights are borrowed, not copied, while a "
          "program is built; it need not be split for memory"),
      Row("cpu_memory_budget", RAISES, "building has no limit of memory; it needs the weights "
          "once, packed", "a number"),
      Row("dynamically_allocate_resources", ACCEPTED, "scratch memory belongs to the threads that "
          "call"),
      Row("decompose_attention", ACCEPTED, "attention is one operation in either form"),
      Row("disabled_constant_fold_exclusions", ACCEPTED, "there are no such rules"),
      Row("attn_bias_is_causal", ACCEPTED, "attention reads the bias that the model gives, causal "
          "or not"),
      Row("fallback_data_dependent_ops", ACCEPTED, "results whose size depends on data are always "
          "PyTorch's"),
    ),
  )),
  Section("Arguments beside the settings", "", (
    *_of(
      "CompilationSettings.",
      Row("enabled_precisions", WORKS, "see compile(enabled_precisions)"),
      Row("torch_executed_modules", WORKS, "kiln.compile's torch_executed_modules: paths, classes, "
          "and names of classes where the model is an nn.Module"),
      Row("engine_cache_dir", RAISES, "set the environment variable KILN_CACHE_DIR to the folder; "
          "it holds for the process"),
      Row("engine_cache_size", RAISES, "set the environment variable KILN_CACHE_SIZE to the limit "
          "(20G); it holds for the process"),
      Row("custom_engine_cache", RAISES, "one entry is one file in a folder, which may be on any "
          "file system: KILN_CACHE_DIR"),
      Row("debug", WORKS, "Kiln's log while compiling, as with torch_tensorrt.logging.debug()"),
      Row("refit", ACCEPTED, "weights can always be replaced"),
      Row("make_refittable", ACCEPTED, "weights can always be replaced"),
      Row("truncate_long_and_double", ACCEPTED, "long and double stay what they are: results are "
          "at least as exact"),
      Row("use_python_runtime", ACCEPTED, "there is one runtime"),
    ),
  )),
)
