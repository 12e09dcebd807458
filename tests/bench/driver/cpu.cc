#include "cpu.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace bench {
namespace {

double of_group(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  double value = 0;
  if (path.ends_with("cpu.stat")) {
    while (file >> word >> value)
      if (word == "usage_usec") return value / 1e6;
  } else if (file >> value) {
    return value / 1e9;
  }
  throw std::runtime_error("cannot read the CPU time from " + path);
}

double of_process(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return 0;  // it has ended
  std::istringstream fields(line.substr(line.rfind(')') + 2));
  std::string skipped;
  for (int field = 3; field < 14; field++) fields >> skipped;  // proc(5): utime and stime are fields 14 and 15
  double user = 0, system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

double CpuMeter::seconds() const {
  double sum = usage_file_.empty() ? 0 : of_group(usage_file_);
  for (int pid : pids_) sum += of_process(pid);
  return sum;
}

double own_cpu_seconds() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

}  // namespace bench
