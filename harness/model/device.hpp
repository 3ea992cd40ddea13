// Devices by the names that users give them.
#pragma once

#include <ATen/ATen.h>

#include <string>

namespace plumbline {

// "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N". Errors: InputError with the devices there
// are.
at::Device parse_device(const std::string& name);

// "cuda:0: NVIDIA H100 80GB HBM3", "cpu: ...".
std::string device_name(at::Device device);

}  // namespace plumbline
