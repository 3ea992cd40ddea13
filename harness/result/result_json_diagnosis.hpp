// The diagnosis of a result's document, written and read.
#pragma once

#include "harness/result/json_place.hpp"
#include "harness/result/result.hpp"

namespace plumbline::reports {

Json diagnosis_json(const Diagnosis& diagnosis);

// Of a document of that version. Errors: InputError, also where a sentence is not what the fields make it.
Diagnosis diagnosis_at(const JsonPlace& place, int version);

}  // namespace plumbline::reports
