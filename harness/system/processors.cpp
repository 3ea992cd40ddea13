#include "harness/system/processors.hpp"

#include <dlfcn.h>

#include <array>
#include <fstream>

namespace plumbline {

std::string cpu_name() {
  std::ifstream cpus("/proc/cpuinfo");
  for (std::string line; std::getline(cpus, line);)
    if (line.starts_with("model name"))
      if (const auto colon = line.find(": "); colon != std::string::npos) return line.substr(colon + 2);
  return "";
}

CudaDevice cuda_device(int index) {
  CudaDevice device;
  // CUDA's driver interface: every function returns 0 where it succeeded. The library stays loaded, as
  // LibTorch has it.
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY);
  if (driver == nullptr) return device;
  const auto call = [driver](const char* name, auto... arguments) {
    const auto function = reinterpret_cast<int (*)(decltype(arguments)...)>(dlsym(driver, name));
    return function != nullptr && function(arguments...) == 0;
  };
  int handle = 0, version = 0;
  std::array<char, 256> name{};
  if (!call("cuInit", 0U)) return device;
  if (call("cuDeviceGet", &handle, index) &&
      call("cuDeviceGetName", name.data(), static_cast<int>(name.size()) - 1, handle))
    device.name = name.data();
  if (call("cuDriverGetVersion", &version))
    device.driver = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  return device;
}

}  // namespace plumbline
