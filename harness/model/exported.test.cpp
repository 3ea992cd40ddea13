// Our side of harness/tests/test_export.py: the logits that another implementation computed from our exported
// weights.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "harness/evidence/compare.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/model/model.hpp"
#include "harness/system/output.hpp"

namespace plumbline {

TEST_CASE("exported weights give the same logits elsewhere", "[.exported]") {
  const auto* name = std::getenv("PLUMBLINE_SPECIFICATION");
  const auto* file = std::getenv("PLUMBLINE_EXPORTED");
  REQUIRE(name != nullptr);
  REQUIRE(file != nullptr);
  const at::NoGradGuard no_gradients;
  const auto specification = find_specification(name, PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  const Model model(specification, discriminating_weights(specification.parameters(), 1));
  const auto read = read_safetensors(file);
  const std::map<std::string, at::Tensor> recorded(read.tensors.begin(), read.tensors.end());
  for (const std::int64_t length : {1, 8, 33, 512}) {
    const auto theirs = recorded.at(fmt::format("logits/{}", length));
    const auto ours = model.forward({recorded.at(fmt::format("tokens/{}", length)), {}, Padding::none});
    REQUIRE(ours.sizes() == theirs.sizes());
    // Rotary angles in float32 err in proportion to the position, on both sides.
    const double allowed = length <= 33 ? 2e-5 : 1e-4;
    const double relative = largest(ours - theirs) / largest(theirs);
    print_out("{} {:4} tokens: logits differ by {:.1e} of the largest, allowed {:.0e}\n", name, length,
              relative, allowed);
    CHECK(relative <= allowed);
  }
}

}  // namespace plumbline
