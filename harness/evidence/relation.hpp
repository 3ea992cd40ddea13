// Relations between stored tensors that differ only in type or layout.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace plumbline {

bool same_bits(const at::Tensor& one, const at::Tensor& other);

// Whether they have the same bits, or one is the other's cast.
bool same_but_for_type(const at::Tensor& one, const at::Tensor& other);

// The relation of `now` to `before` in words: "a cast to BFloat16 of the tensor before", "the same rows in
// another order". Empty: the same bits, or no known relation.
std::string relation(const at::Tensor& now, const at::Tensor& before);

// Reorders the rows of a query or key projection, (heads * Dh, in), from code that rotates halves to code
// that rotates neighbouring pairs.
at::Tensor rows_for_pairs(const at::Tensor& halves, std::int64_t heads);

}  // namespace plumbline
