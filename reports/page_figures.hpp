// A picture with its title, its legend and its numbers.
#pragma once

#include <string>
#include <vector>

#include "reports/page_parts.hpp"
#include "reports/svg.hpp"

namespace plumbline::reports {

using Row = std::vector<std::string>;

// A closed table; the texts of `head` and `rows` are safe already.
std::string table(const Page& page, const std::string& caption, const Row& head,
                  const std::vector<Row>& rows);

// All parts are safe already.
std::string figure(const Page& page, const std::string& title, const std::string& note,
                   const std::string& drawn, const std::string& legend, const std::string& numbers);

std::string legend(const std::vector<Series>& series, bool joined);

}  // namespace plumbline::reports
