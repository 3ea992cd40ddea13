// Hugging Face's config.json, to and from the specification's terms.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "harness/system/json.hpp"

#include "harness/candidate/candidate.hpp"
#include "harness/model/specification.hpp"

namespace plumbline {

// The settings that a config.json says, under the specification's keys. What it does not say is what its
// model_type does by default, with a sentence in `notes` (may be null); a size that it does not say is left
// out. Reads what transformers 4 (`rope_theta`) and 5 (`rope_parameters`) write. Errors: InputError naming
// file and key for another architecture, a value of the wrong type, two values that contradict each other,
// and numbers that describe no possible model.
std::map<std::string, Setting> read_settings(const Json& config, const std::string& file,
                                             std::vector<std::string>* notes = nullptr);

// config.json as transformers 4 and 5 both read it, for LlamaForCausalLM.
// Errors: InputError for what that class cannot be: neighbouring pairs.
Json llama_config(const Specification& specification);

}  // namespace plumbline
