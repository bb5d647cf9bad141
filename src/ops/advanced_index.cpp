#include "ops/advanced_index.h"

#include <algorithm>

#include "ops/broadcast.h"
#include "ops/index_value.h"
#include "ops/operand_checks.h"
#include "ops/reference_data.h"

namespace kiln {

namespace {

// Where the joint axes of the index tensors stand in the result.
size_t joint_position(const std::vector<int64_t>& axes) {
  const bool neighbours = axes.back() - axes.front() + 1 == static_cast<int64_t>(axes.size());
  return neighbours ? static_cast<size_t>(axes.front()) : 0;
}

template <typename Dim>
std::vector<Dim> without_axes(const std::vector<Dim>& shape, const std::vector<int64_t>& axes) {
  std::vector<Dim> rest;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end()) {
      rest.push_back(shape[i]);
    }
  }
  return rest;
}

}  // namespace

Result<Shape> advanced_index_shape(const OpContext& c, int first_index) {
  const std::vector<int64_t>& axes = c.get_ints("axes");
  const Shape& x = c.tensor(0).shape;
  if (axes.empty()) return refuse(c, "K2205", "no axis is indexed");
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < (i == 0 ? 0 : axes[i - 1] + 1) || axes[i] >= c.tensor(0).rank()) {
      return refuse(c, "K2205",
                    "axes are not ascending axes of x, rank " + std::to_string(x.size()) +
                        ", axis " + std::to_string(axes[i]));
    }
  }
  if (c.num_operands() != first_index + static_cast<int>(axes.size())) {
    return refuse(c, "K2202",
                  "axes and index tensors differ in number: " + std::to_string(axes.size()) +
                      " and " + std::to_string(c.num_operands() - first_index));
  }
  std::vector<int> indices;
  for (int i = first_index; i < c.num_operands(); ++i) {
    if (!c.has(i)) return refuse(c, "K2202", "index tensor is absent");
    KILN_RETURN_IF_ERROR(check_index_dtype(c, i));
    indices.push_back(i);
  }
  KILN_ASSIGN_OR_RETURN(const Shape joint, broadcast_shapes(c, indices));
  Shape shape = without_axes(x, axes);
  shape.insert(shape.begin() + static_cast<ptrdiff_t>(joint_position(axes)), joint.begin(),
               joint.end());
  return shape;
}

Result<std::vector<int64_t>> advanced_index_positions(const ReferenceContext& c, int first_index,
                                                      std::vector<int64_t>* shape) {
  const std::vector<int64_t>& axes = c.node->get_ints("axes");
  const HostTensor& x = c.in(0);
  const std::vector<int64_t> strides = row_major_strides(x.shape());
  std::vector<int64_t> joint;
  for (size_t k = 0; k < axes.size(); ++k) {
    const std::vector<int64_t>& one = c.in(first_index + static_cast<int>(k)).shape();
    if (one.size() > joint.size()) joint.insert(joint.begin(), one.size() - joint.size(), 1);
    for (size_t i = 0; i < one.size(); ++i) {
      int64_t& extent = joint[joint.size() - one.size() + i];
      if (extent == 1) extent = one[i];
    }
  }
  // Offset into x that the index tensors give at each joint index.
  std::vector<int64_t> joint_offsets;
  std::vector<std::vector<int64_t>> index_strides;
  for (size_t k = 0; k < axes.size(); ++k) {
    index_strides.push_back(
        broadcast_strides(c.in(first_index + static_cast<int>(k)).shape(), joint));
  }
  for (IndexWalk at(joint); !at.done(); at.next()) {
    int64_t offset = 0;
    for (size_t k = 0; k < axes.size(); ++k) {
      int64_t flat = 0;
      for (size_t i = 0; i < joint.size(); ++i) {
        flat += at[static_cast<int>(i)] * index_strides[k][i];
      }
      KILN_ASSIGN_OR_RETURN(
          const int64_t index,
          checked_index(c.node->op_name(), c.in(first_index + static_cast<int>(k)).get_int(flat),
                        x.size(static_cast<int>(axes[k])), true));
      offset += index * strides[static_cast<size_t>(axes[k])];
    }
    joint_offsets.push_back(offset);
  }
  const std::vector<int64_t> rest = without_axes(x.shape(), axes);
  const std::vector<int64_t> rest_strides = without_axes(strides, axes);
  const size_t begin = joint_position(axes);
  *shape = rest;
  shape->insert(shape->begin() + static_cast<ptrdiff_t>(begin), joint.begin(), joint.end());
  const std::vector<int64_t> joint_strides = row_major_strides(joint);
  std::vector<int64_t> positions;
  for (IndexWalk at(*shape); !at.done(); at.next()) {
    int64_t joint_flat = 0;
    int64_t position = 0;
    for (size_t i = 0; i < shape->size(); ++i) {
      const int64_t index = at[static_cast<int>(i)];
      if (i < begin) {
        position += index * rest_strides[i];
      } else if (i < begin + joint.size()) {
        joint_flat += index * joint_strides[i - begin];
      } else {
        position += index * rest_strides[i - joint.size()];
      }
    }
    positions.push_back(position + joint_offsets[static_cast<size_t>(joint_flat)]);
  }
  return positions;
}

std::vector<Value*> advanced_index_list(Node& node, int first_index) {
  const std::vector<int64_t>& axes = node.get_ints("axes");
  std::vector<Value*> list(static_cast<size_t>(axes.back() + 1), nullptr);
  for (size_t k = 0; k < axes.size(); ++k) {
    list[static_cast<size_t>(axes[k])] = node.operand(first_index + static_cast<int>(k));
  }
  return list;
}

}  // namespace kiln
