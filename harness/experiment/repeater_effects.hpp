// Effects as the report and its pictures show them.
#pragma once

#include <string>

#include "harness/experiment/repeater.hpp"

namespace plumbline {

// "+0.12"
std::string shown_effect(double value);
// The effect of one factor on a response among some of the runs; null: there is none.
const Json* effect_of(const Json& document, const std::string& response, const std::string& among,
                      const std::string& factor);

}  // namespace plumbline
