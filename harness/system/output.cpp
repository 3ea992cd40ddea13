#include "harness/system/output.hpp"

// Headers of one version with the library of another would not always be seen when linking.
static_assert(FMT_VERSION == PLUMBLINE_FMT_VERSION, "fmt's headers and its library are of two versions");

namespace plumbline {

void write_text(std::FILE* stream, std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stream));
}

}  // namespace plumbline
