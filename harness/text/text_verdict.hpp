// Whether a text is more repetitive than its baseline.
#pragma once

#include "harness/text/text_report.hpp"

namespace plumbline {

// Errors: InputError where the two are of other units, or of other strategies.
void require_comparable(const Samples& baseline, const Samples& text);

// {"finding", "sentence", "deciding"} of a document that has all else.
Json text_verdict(const Json& document, const TextThresholds& thresholds);

}  // namespace plumbline
