// The same of the files that compute.
#pragma once

#include <ATen/ATen.h>
