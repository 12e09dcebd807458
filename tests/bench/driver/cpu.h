// CPU time of the server under test, and of this driver.
#pragma once

#include <string>
#include <vector>

namespace bench {

// Reads what all processes of the server have used so far.
class CpuMeter {
 public:
  // usage_file: of a control group, cpuacct.usage (v1, ns) or cpu.stat (v2, µs); empty: none.
  // pids: processes to add up from /proc where there is no group, exact to 10 ms.
  CpuMeter(std::string usage_file, std::vector<int> pids) : usage_file_(std::move(usage_file)), pids_(std::move(pids)) {}

  // Seconds. Throws std::runtime_error where the file cannot be read.
  double seconds() const;

 private:
  std::string usage_file_;
  std::vector<int> pids_;
};

// Seconds that this process has used.
double own_cpu_seconds();

}  // namespace bench
