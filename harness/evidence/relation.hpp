// How two stored tensors that differ are related, where their difference is how they were stored.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace plumbline {

bool same_bits(const at::Tensor& one, const at::Tensor& other);

// The same bits, or one is the other's cast.
bool same_but_for_type(const at::Tensor& one, const at::Tensor& other);

// What `now` is to `before`, in words: "a cast to BFloat16 of the tensor before", "the same rows in another
// order". Empty: the same bits, or nothing of the kind.
std::string relation(const at::Tensor& now, const at::Tensor& before);

// The rows of a matrix of queries or keys, (heads * size, in), as code that turns neighbouring pairs has them
// for code that turns halves.
at::Tensor rows_for_pairs(const at::Tensor& halves, std::int64_t heads);

}  // namespace plumbline
