#include "harness/model/device.hpp"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>

#include "harness/system/error.hpp"
#include "harness/system/processors.hpp"

namespace plumbline {

at::Device parse_device(const std::string& name) {
  if (name == "cpu" || (name == "auto" && !at::hasCUDA())) return at::kCPU;
  if (name == "auto") return at::Device(at::kCUDA, 0);
  int index = 0;
  const bool cuda = name == "cuda" || (name.starts_with("cuda:") && name.size() > 5 && name.size() < 9 &&
                                       name.find_first_not_of("0123456789", 5) == std::string::npos);
  if (!cuda) throw InputError(fmt::format("--device {}: expected auto, cpu, cuda or cuda:N", name));
  if (name.size() > 5) index = std::stoi(name.substr(5));
  if (!at::hasCUDA())
    throw InputError(fmt::format("--device {}: LibTorch finds no CUDA device here; use --device cpu", name));
  const auto count = static_cast<int>(at::detail::getCUDAHooks().deviceCount());
  if (index >= count)
    throw InputError(
        fmt::format("--device {}: there are {} CUDA devices, the last is cuda:{}", name, count, count - 1));
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

std::string device_name(at::Device device) {
  const auto name = device.is_cuda() ? cuda_device(device.index()).name : cpu_name();
  const auto place = device.is_cuda() ? device.str() : "cpu";
  return name.empty() ? place : fmt::format("{}: {}", place, name);
}

}  // namespace plumbline
