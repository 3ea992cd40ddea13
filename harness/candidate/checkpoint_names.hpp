// What wrappers, trainers and other projects make of a checkpoint's names, undone; and what a checkpoint's
// names say it is, where it is no model of plain weights.
#pragma once

#include <string>
#include <vector>

#include "harness/candidate/checkpoint_files.hpp"

namespace plumbline {

// Gives the tensors the specification's names, as far as that is a matter of spelling, and leaves out what is
// no parameter: tables that code computes itself, and adapters beside their base. `notes` get a line for each
// thing done. `file` begins the message of an InputError: two tensors of one name, two models in one file, an
// adapter alone, a quantised model, a mixture of experts.
void make_names_canonical(std::vector<NamedTensor>& tensors, std::vector<std::string>& notes,
                          const std::string& file);

// The first few of the names, safe to show.
std::string listed(const std::vector<std::string>& names);

constexpr const char* kDequantise =
    "expected float32, float16 or bfloat16 weights; pass the original model, or "
    "model.dequantize() of transformers, saved";
constexpr const char* kMergeAdapter =
    "merge it into its base and pass that: PeftModel.from_pretrained(base, "
    "ADAPTER).merge_and_unload().save_pretrained(DIR)";

}  // namespace plumbline
