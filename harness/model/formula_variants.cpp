#include "harness/model/formula_variants.hpp"

#include <iterator>
#include <vector>

#include "harness/model/equivalent_formulas.hpp"

namespace plumbline {
namespace {

constexpr FormulaVariant kFormulaVariants[] = {
    {"repeat-interleave", "repeat_interleave over heads instead of expanding a new axis",
     [](Formulas& f) { f.repeat_kv = f.repeat_cached_kv = equivalent::repeat_kv_interleaved; }},
    {"repeat-by-index", "key/value heads are looked up by head div factor",
     [](Formulas& f) { f.repeat_kv = f.repeat_cached_kv = equivalent::repeat_kv_by_index; }},
    {"repeat-unlike-with-cache", "one way of repeating in a full pass, and another with the cache",
     [](Formulas& f) { f.repeat_cached_kv = equivalent::repeat_kv_by_index; }},
    {"norm-by-root", "RMSNorm divides by the root instead of multiplying by its reciprocal",
     [](Formulas& f) { f.norm = equivalent::norm_by_division; }},
    {"norm-fused", "RMSNorm is the library's own", [](Formulas& f) { f.norm = equivalent::norm_fused; }},
    {"norm-in-float64", "RMSNorm is computed in float64",
     [](Formulas& f) { f.norm = equivalent::norm_in_float64; }},
    {"rotary-complex", "pairs are rotated by multiplication with complex numbers",
     [](Formulas& f) { f.rotate_query = f.rotate_key = equivalent::rotate_by_complex_product; }},
    {"rotary-rotate-half", "x cos + rotate_half(x) sin, with cos and sin as wide as a head",
     [](Formulas& f) { f.rotate_query = f.rotate_key = equivalent::rotate_by_rotate_half; }},
    {"rotary-float64-frequencies", "frequencies are computed in float64 and rounded once",
     [](Formulas& f) { f.frequencies = equivalent::frequencies_from_float64; }},
    {"rotary-float64-angles", "angles are computed, and vectors rotated, in float64",
     [](Formulas& f) { f.frequencies = equivalent::frequencies_in_float64; }},
    {"rotary-by-exponential", "frequencies are exp(-ln(theta) 2i/Dh)",
     [](Formulas& f) { f.frequencies = equivalent::frequencies_by_exponential; }},
    {"mask-by-minimum", "masked scores become the smallest finite number instead of -infinity",
     [](Formulas& f) { f.apply_mask = equivalent::apply_mask_by_minimum; }},
    {"mask-additive", "a mask of 0 and -infinity is added to the scores",
     [](Formulas& f) { f.apply_mask = equivalent::apply_mask_by_addition; }},
    {"padding-sees-all", "padding attends to everything, and nothing uses its results",
     [](Formulas& f) { f.attention_mask = equivalent::mask_with_unmasked_padding; }},
    {"softmax-by-exponentials", "softmax is written out: exp(x - max) over its sum",
     [](Formulas& f) { f.softmax = equivalent::softmax_by_exponentials; }},
    {"softmax-in-blocks", "softmax goes over blocks of keys and corrects as it goes",
     [](Formulas& f) { f.softmax = equivalent::softmax_in_blocks; }},
    {"softmax-in-float64", "softmax is computed in float64",
     [](Formulas& f) { f.softmax = equivalent::softmax_in_float64; }},
    {"product-backwards", "products add up from the last column to the first",
     [](Formulas& f) { f.linear = equivalent::linear_in_reverse_order; }},
    {"product-in-parts", "products are sums of two halves, as over two machines",
     [](Formulas& f) { f.linear = equivalent::linear_in_two_sums; }},
    {"product-by-rows", "products are computed for one half of the outputs, then for the other",
     [](Formulas& f) { f.linear = equivalent::linear_by_output_halves; }},
    {"product-in-float64", "products add up in float64",
     [](Formulas& f) { f.linear = equivalent::linear_in_float64; }},
    {"product-by-einsum", "products are contractions of named axes",
     [](Formulas& f) { f.linear = equivalent::linear_by_einsum; }},
    {"product-as-convolution", "products are convolutions over single positions",
     [](Formulas& f) { f.linear = equivalent::linear_by_convolution; }},
    {"weights-strided", "matrices lie transposed in memory",
     [](Formulas& f) { f.read_parameter = equivalent::read_parameter_transposed; }},
    {"gate-by-sigmoid", "SiLU is x times its sigmoid",
     [](Formulas& f) { f.gated_unit = equivalent::gated_unit_by_sigmoid; }},
    {"gate-in-float32", "the gate is computed in float32 at least",
     [](Formulas& f) { f.gated_unit = equivalent::gated_unit_in_float32; }},
    {"residual-in-place", "residuals are added in place",
     [](Formulas& f) { f.add_residual = equivalent::add_residual_in_place; }},
    {"loss-by-logarithms", "the loss is a gathered logarithm of softmax, divided by the count",
     [](Formulas& f) { f.loss = equivalent::loss_by_log_softmax; }},
    {"adamw-by-lerp", "AdamW's moments move by interpolation, and the step is one fused operation",
     [](Formulas& f) { f.optimiser_step = equivalent::adamw_by_lerp; }},
    {"text-float32-probabilities", "the next token's probabilities are computed in float32",
     [](Formulas& f) { f.token_probabilities = equivalent::probabilities_in_float32; }},
    {"text-other-generator", "tokens are drawn with random numbers of another kind",
     [](Formulas& f) { f.random_number = equivalent::random_number_of_other_stream; }},
    {"norm-by-length", "RMSNorm divides by a vector's length, and multiplies by the root of its size",
     [](Formulas& f) { f.norm = equivalent::norm_by_vector_length; }},
    {"norm-weight-before-rounding",
     "RMSNorm is the library's own, its weight applied before the result is rounded",
     [](Formulas& f) { f.norm = equivalent::norm_weight_before_rounding; }},
    {"rotary-complex-table", "complex numbers come from a table that is computed once, in float64",
     [](Formulas& f) {
       f.frequencies = equivalent::complex_rotation_table;
       f.angles = equivalent::rotation_table_rows;
       f.rotate_query = f.rotate_key = equivalent::rotate_by_complex_table_row;
     }},
    {"rotary-table", "cosines and sines come from a table that is computed once, in float64",
     [](Formulas& f) {
       f.frequencies = equivalent::complex_rotation_table;
       f.angles = equivalent::rotation_table_rows;
       f.rotate_query = f.rotate_key = equivalent::rotate_by_table_row;
     }},
    {"rotary-by-matrix", "heads are multiplied by a rotation matrix for each position",
     [](Formulas& f) { f.rotate_query = f.rotate_key = equivalent::rotate_by_matrix; }},
    {"mask-by-product", "masked scores are multiplied by 0, and a very negative number is added",
     [](Formulas& f) { f.apply_mask = equivalent::apply_mask_by_product; }},
    {"mask-in-two-steps", "the future is hidden by a triangle of -infinity, padding by adding -1e9",
     [](Formulas& f) { f.apply_mask = equivalent::apply_mask_in_two_steps; }},
    {"attention-by-head", "attention is computed head by head",
     [](Formulas& f) {
       f.attention_scores = equivalent::scores_by_head;
       f.weigh_values = equivalent::weigh_values_by_head;
     }},
    {"attention-by-queries", "attention is computed for eight queries at a time",
     [](Formulas& f) {
       f.attention_scores = equivalent::scores_by_query_block;
       f.weigh_values = equivalent::weigh_values_by_query_block;
     }},
    {"attention-by-einsum", "attention is contractions of named axes",
     [](Formulas& f) {
       f.attention_scores = equivalent::scores_by_einsum;
       f.weigh_values = equivalent::weigh_values_by_einsum;
     }},
    {"attention-keys-first", "products are of keys with queries, and of values with probabilities",
     [](Formulas& f) {
       f.attention_scores = equivalent::scores_by_keys_times_queries;
       f.weigh_values = equivalent::weigh_values_transposed;
     }},
    {"attention-scaled-within", "scores are scaled within the product of all heads of a batch as one list",
     [](Formulas& f) { f.attention_scores = equivalent::scores_by_baddbmm; }},
    {"scale-on-queries", "queries are scaled before the product",
     [](Formulas& f) { f.attention_scores = equivalent::scores_of_scaled_queries; }},
    {"scale-on-both", "queries and keys are each scaled by the root",
     [](Formulas& f) { f.attention_scores = equivalent::scores_of_scaled_queries_and_keys; }},
    {"softmax-base-two", "softmax raises 2 instead of e",
     [](Formulas& f) { f.softmax = equivalent::softmax_base_two; }},
    {"softmax-by-logarithm", "softmax is exp(x - log of the sum)",
     [](Formulas& f) { f.softmax = equivalent::softmax_by_logsumexp; }},
    {"product-turned", "products are of the matrix with columns, and turned afterwards",
     [](Formulas& f) { f.linear = equivalent::linear_transposed; }},
    {"product-by-positions", "products are computed for sixteen positions at a time",
     [](Formulas& f) { f.linear = equivalent::linear_by_position_block; }},
    {"gate-written-out", "activations are written out in exponentials",
     [](Formulas& f) { f.gated_unit = equivalent::gated_unit_by_exponentials; }},
    {"loss-in-chunks", "the loss adds up over five positions at a time: logarithms of sums less the logit",
     [](Formulas& f) { f.loss = equivalent::loss_in_chunks; }},
    {"loss-labels-moved", "labels are moved to their logits, and the last logit has none",
     [](Formulas& f) { f.loss = equivalent::loss_by_shifted_labels; }},
    {"loss-by-mask", "each label's loss is multiplied by a mask, and the sum divided by the mask's",
     [](Formulas& f) { f.loss = equivalent::loss_by_mask; }},
    {"adamw-in-one-sum", "AdamW's decay and its step are one sum, and its corrections one size of step",
     [](Formulas& f) { f.optimiser_step = equivalent::adamw_in_one_expression; }},
    {"text-from-below", "top-p leaves out from the least likely token up, and penalties go token by token",
     [](Formulas& f) { f.token_probabilities = equivalent::probabilities_by_ascending_top_p; }},
};

}  // namespace

const std::vector<FormulaVariant>& formula_variants() {
  static const std::vector<FormulaVariant> all(std::begin(kFormulaVariants), std::end(kFormulaVariants));
  return all;
}

}  // namespace plumbline
