// Text in HTML, XML and SVG.
#pragma once

#include <string>

namespace plumbline {

// Fit for an element's content and for a quoted attribute, of HTML and XML alike.
std::string escaped(const std::string& text);

}  // namespace plumbline
