// What the tests of golden files share.
#pragma once

#include <fmt/format.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "harness/evidence/golden.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline::golden_tests {

inline const std::filesystem::path recorded = PLUMBLINE_SOURCE_DIR "/golden";

inline const Specification& tiny() {
  static const auto specification =
      find_specification("tiny", PLUMBLINE_SOURCE_DIR "/fixtures/specifications");
  return specification;
}

inline std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const InputError& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  return "accepted";
}

inline std::string refusal(const std::filesystem::path& directory) {
  return refusal([&] { Golden::load(directory, tiny()); });
}

// Directories, each with one small golden file and its manifest, changed by Python that finds the file as
// `f`.
struct GoldenFiles {
  TemporaryDirectory root;
  const std::filesystem::path& directory = root.path();

  explicit GoldenFiles(const std::vector<std::pair<std::string, std::string>>& variants) {
    Json changes = Json::object();
    for (const auto& [name, change] : variants) changes[name] = change;
    const std::string script = R"(
import hashlib, json, os, sys
import h5py, numpy as np
for name, change in json.loads(sys.argv[2]).items():
    folder = os.path.join(sys.argv[1], name)
    os.mkdir(folder)
    path = os.path.join(folder, "tiny.h5")
    with h5py.File(path, "w", libver=("earliest", "v110")) as f:
        f.attrs.update({"format": "plumbline-golden", "version": 1, "scheme": 1, "seed": 7,
                        "specification_sha256": sys.argv[3]})
        p = f.create_group("probes/p")
        p.attrs["padding"] = "right"
        p["tokens"] = np.array([[1, 2, 3], [4, 5, 0]])
        p["lengths"] = np.array([3, 2])
        p["positions"] = np.array([0, 2])
        p["stages/logits"] = np.zeros((2, 2, 101))
        p["stages/embedding"] = np.zeros((2, 2, 48))
        p["stages/layers.0.q"] = np.zeros((2, 2, 6, 8))
        p["decode/logits"] = np.zeros((2, 2, 101))
        p["cache/layers.4.keys"] = np.zeros((2, 3, 2, 8))
        f["rotation/positions"] = np.arange(4)
        f["rotation/vectors"] = np.ones((4, 8))
        f["rotation/rotated"] = np.ones((4, 8))
        exec(change)
    if name == "no-hdf5":
        with open(path, "wb") as file:
            file.write(b"nothing of the kind")
    if name == "cut-short":
        os.truncate(path, os.path.getsize(path) // 2)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    entry = {"file": "tiny.h5", "sha256": digest, "specification": "tiny", "float32_error": {}}
    with open(os.path.join(folder, "manifest.json"), "w") as file:
        json.dump({"format": "plumbline-golden-manifest", "version": 1, "files": [entry]}, file)
)";
    const auto result =
        run_child({PLUMBLINE_PYTHON, "-c", script, directory.string(), changes.dump(), tiny().sha256}, {});
    INFO(result.errors);
    REQUIRE(result.succeeded());
  }
};

// One golden file: its name, the Python that changes it, and what the refusal says; "accepted": there is
// none.
using Variant = std::array<std::string, 3>;

}  // namespace plumbline::golden_tests
