// Text in HTML, XML and SVG.
#pragma once

#include <string>

namespace plumbline {

// Escapes text for elements and quoted attributes of HTML and XML.
std::string escaped(const std::string& text);

}  // namespace plumbline
