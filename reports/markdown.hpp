#pragma once

#include <string>
#include <string_view>

#include "harness/system/visible.hpp"

namespace plumbline::reports {

// `text` as Markdown that shows it and nothing else: no markup, no HTML, no link, no mention. Fit for a
// table's cell and for the start of a line.
std::string escaped(std::string_view text, std::size_t limit = usual_limit);

}  // namespace plumbline::reports
