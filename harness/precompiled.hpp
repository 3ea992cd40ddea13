// What nearly every file includes and no file of ours changes.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>
