// Names of processors, for the header of a result.
#pragma once

#include <string>

namespace plumbline {

// As the system names it, "AMD EPYC 9R14"; empty where it does not.
std::string cpu_name();

struct CudaDevice {
  std::string name;    // "NVIDIA H100 80GB HBM3"
  std::string driver;  // the CUDA version that the driver offers, "13.0"
};

// The device of that index among those that this process may see. Asks the driver, since
// LibTorch has names only in programs built against the CUDA toolkit. Unknown members stay empty.
CudaDevice cuda_device(int index);

}  // namespace plumbline
