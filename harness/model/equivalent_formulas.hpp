// Formulas that compute what those of the model compute, in other ways that people write: what
// harness/model/formula_variants.cpp puts together. Each is of the kind that its first word, or its group,
// names.
#pragma once

#include "harness/model/formulas.hpp"

namespace plumbline::equivalent {

// Attention.
using Repeat = at::Tensor(const at::Tensor& x, std::int64_t factor);
Repeat repeat_by_index, repeat_interleaved;

using Score = at::Tensor(const at::Tensor& q, const at::Tensor& keys, double scale);
Score score_by_head, score_by_queries, score_by_einsum, score_keys_first, score_scaled_within,
    score_of_scaled_queries, score_of_both_scaled;

using Mask = at::Tensor(const Sight& sight);
Mask mask_where_padding_sees_all;

using Hide = at::Tensor(const at::Tensor& scores, const at::Tensor& allowed);
Hide hide_by_minimum, hide_by_addition, hide_by_product, hide_in_two_steps;

using Softmax = at::Tensor(const at::Tensor& scores);
Softmax softmax_by_exponentials, softmax_in_blocks, softmax_in_float64, softmax_base_two,
    softmax_by_logarithm, softmax_by_constant;

using Mix = at::Tensor(const at::Tensor& probabilities, const at::Tensor& values);
Mix mix_by_head, mix_by_queries, mix_by_einsum, mix_keys_first;

// Rotary embedding. A table's row takes the place of angles.
using Frequencies = at::Tensor(const Specification& s, at::ScalarType type, at::Device device);
Frequencies frequencies_from_float64, frequencies_in_float64, frequencies_by_exponential, table_of_complex;

at::Tensor row_of_table(const at::Tensor& positions, const at::Tensor& table);

using Rotate = at::Tensor(const at::Tensor& x, const at::Tensor& angles, Rotary rotary);
Rotate rotate_complex, rotate_whole, rotate_by_matrix, rotate_by_row, rotate_by_complex_row;

// What layers consist of besides.
using Read = at::Tensor(const Weights& weights, const std::string& name);
Read read_strided;

using Norm = at::Tensor(const at::Tensor& x, const at::Tensor& weight, double eps, NormPrecision precision);
Norm norm_by_root, norm_fused, norm_in_float64, norm_by_length, norm_weight_before_rounding;

using Product = at::Tensor(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
Product product_backwards, product_in_parts, product_by_rows, product_in_float64, product_by_einsum,
    product_as_convolution, product_turned, product_by_positions;

using Gate = at::Tensor(const at::Tensor& gate, const at::Tensor& up, Activation activation);
Gate gate_by_sigmoid, gate_in_float32, gate_written_out;

using Add = at::Tensor(const at::Tensor& residual, const at::Tensor& normed, const at::Tensor& branch);
Add add_in_place;

// Training.
using Loss = at::Tensor(const at::Tensor& logits, const at::Tensor& labels);
Loss loss_by_logarithms, loss_in_chunks, loss_labels_moved, loss_by_mask;

using Optimise = at::Tensor(const at::Tensor& parameter, const at::Tensor& gradient, Moments& moments,
                            std::int64_t step, const AdamW& numbers);
Optimise adamw_by_lerp, adamw_in_one_sum;

// Sampled text.
using Probabilities = at::Tensor(const at::Tensor& logits, const at::Tensor& before, std::int64_t prompt,
                                 const Sampling& sampling);
Probabilities probabilities_in_float32, probabilities_from_below;

double random_of_another_kind(std::uint32_t seed, std::uint64_t row, std::uint64_t step);

}  // namespace plumbline::equivalent
