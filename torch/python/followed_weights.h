// Tensors that a program borrows as weights, with their version counters.
//
// Constants that are weights as they are would follow a change in place and computed ones would
// not. So a change that torch counts is noticed at the next call, which takes in all changed
// tensors as a whole. Not counted: writes through `.data` or numpy, and tensors made in inference
// mode.
#pragma once

#include <Python.h>

#include <memory>
#include <string>
#include <vector>

#include <kiln/program.h>

namespace kiln {

class FollowedWeights {
 public:
  FollowedWeights();
  FollowedWeights(FollowedWeights&&) noexcept;
  FollowedWeights& operator=(FollowedWeights&&) noexcept;
  ~FollowedWeights();

  // Adds a tensor of another name than the others as its version is now: before its value is read,
  // so that a later change shows. K1111 for what cannot be a weight.
  Status add(const std::string& name, PyObject* tensor);
  // Those of `newer` in the place of their namesakes.
  void merge(FollowedWeights newer);
  // Forgets tensors that the program does not read.
  void keep(const std::vector<WeightInfo>& weights);

  // False when some tensor has another version than it was added with.
  bool current() const;
  // The tensors with another version, as they are now.
  FollowedWeights changed() const;
  size_t size() const;
  // Contiguous values: borrowed where they are, else copies.
  std::vector<WeightView> views() const;

 private:
  struct Entry;
  std::vector<Entry> entries_;
};

}  // namespace kiln
