// load: puts a server on this machine under load and prints what came of it, as one line of JSON.
//
//   load grpc|http --address 127.0.0.1:PORT --call REQUEST_FILE EXPECTED_FILE ... [options]
//
// A request file of `grpc` is a message, of `http` a whole HTTP/1.1 request; an expected file holds little-endian
// floats. Several --call are sent in turn. See Plan in load.h for the rest; harness: ../load.py.
// Exit codes: 0 measured, 1 no right answer at all, 2 wrong arguments, 3 no connection.
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>

#include "http1.h"
#include "http2.h"
#include "load.h"

namespace bench {
namespace {

enum Exit { kMeasured = 0, kNothingRight = 1, kUsage = 2, kNoConnection = 3 };

struct Options {
  std::string protocol, address, method = "/inference.GRPCInferenceService/ModelInfer", ca_file, cpu_file;
  std::vector<Field> metadata;
  std::vector<int> cpu_pids;
  Plan plan;
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::invalid_argument("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> floats(const std::string& path) {
  std::string bytes = contents(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

Options parse(std::vector<std::string> arguments) {
  Options options;
  Plan& plan = options.plan;
  size_t at = 0;
  auto next = [&]() -> const std::string& {
    if (at >= arguments.size()) throw std::invalid_argument("something is missing at the end");
    return arguments[at++];
  };
  const std::map<std::string, std::function<void()>> known = {
      {"--address", [&] { options.address = next(); }},
      {"--call", [&] { std::string request = contents(next()); plan.calls.push_back({request, floats(next())}); }},
      {"--form", [&] { plan.form = form_of(next()); }},
      {"--method", [&] { options.method = next(); }},
      {"--metadata", [&] { std::string key = next(); options.metadata.emplace_back(key, next()); }},
      {"--ca", [&] { options.ca_file = next(); }},
      {"--cpu-file", [&] { options.cpu_file = next(); }},
      {"--cpu-pid", [&] { options.cpu_pids.push_back(std::stoi(next())); }},
      {"--in-flight", [&] { plan.in_flight = std::stoi(next()); }},
      {"--connections", [&] { plan.connections = std::stoi(next()); }},
      {"--rate", [&] { plan.rate = std::stod(next()); }},
      {"--seed", [&] { plan.seed = static_cast<uint32_t>(std::stoul(next())); }},
      {"--timeout-ms", [&] { plan.timeout_ms = std::stoi(next()); }},
      {"--warm-up", [&] { plan.warm_up_s = std::stod(next()); }},
      {"--seconds", [&] { plan.seconds = std::stod(next()); }},
      {"--calls", [&] { plan.calls_max = std::stoull(next()); }},
  };
  options.protocol = next();
  if (options.protocol != "grpc" && options.protocol != "http") throw std::invalid_argument("say grpc or http first");
  while (at < arguments.size()) {
    auto option = known.find(next());
    if (option == known.end()) throw std::invalid_argument("no such option: " + arguments[at - 1]);
    option->second();
  }
  if (options.address.empty() || plan.calls.empty()) throw std::invalid_argument("--address and --call are needed");
  return options;
}

Load::Connect connector(const Options& options, const std::optional<Tls>& tls) {
  const Tls* secured = tls ? &*tls : nullptr;
  if (options.protocol == "http")
    return [&options, secured](Connection::Done done) {
      return std::make_unique<HttpConnection>(options.address, secured, std::move(done));
    };
  auto headers = grpc_headers(options.method, options.metadata, options.plan.timeout_ms, secured != nullptr);
  return [&options, secured, headers](Connection::Done done) {
    return std::make_unique<GrpcConnection>(options.address, secured, std::move(done), headers);
  };
}

double percentile_us(const std::vector<Nanos>& sorted, double share) {
  if (sorted.empty()) return 0;
  auto rank = static_cast<size_t>(share * static_cast<double>(sorted.size()));
  return static_cast<double>(sorted[std::min(rank, sorted.size() - 1)]) / 1e3;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char each : text.substr(0, 300)) {
    if (each == '"' || each == '\\') out += '\\';
    out += static_cast<unsigned char>(each) < 0x20 || static_cast<unsigned char>(each) > 0x7e ? '?' : each;
  }
  return out + '"';
}

void print(const Result& result) {
  std::string failures;
  for (auto& [outcome, count] : result.failures)
    if (count > 0) failures += (failures.empty() ? "" : ", ") + quoted(outcome) + ": " + std::to_string(count);
  std::printf("{\"due\": %" PRId64 ", \"right\": %zu, \"wrong\": %" PRId64 ", \"in_time\": %" PRId64
              ", \"failures\": {%s}, \"first_failure\": %s, \"window_s\": %.6f, \"answers\": %" PRId64
              ", \"server_cpu_s\": %.6f, \"driver_cpu_s\": %.6f",
              result.due, result.latencies.size(), result.wrong, result.in_time, failures.c_str(),
              quoted(result.first_failure).c_str(), result.window_s, result.answers, result.server_cpu_s,
              result.driver_cpu_s);
  for (auto [name, share] : {std::pair("p50_us", .5), {"p90_us", .9}, {"p99_us", .99}, {"max_us", 1.0}})
    std::printf(", \"%s\": %.1f", name, percentile_us(result.latencies, share));
  std::printf("}\n");
}

int run(int argc, char** argv) {
  Options options;
  try {
    options = parse({argv + 1, argv + argc});
  } catch (const std::logic_error& error) {
    std::fprintf(stderr, "load: %s\n", error.what());
    return kUsage;
  }
  std::optional<Tls> tls;
  if (!options.ca_file.empty()) tls = Tls{options.ca_file, options.protocol == "grpc" ? "h2" : "http/1.1"};
  CpuMeter meter(options.cpu_file, options.cpu_pids);
  try {
    Result result = Load(options.plan, connector(options, tls), meter).run();
    print(result);
    return result.latencies.empty() ? kNothingRight : kMeasured;
  } catch (const std::runtime_error& error) {
    std::fprintf(stderr, "load: %s\n", error.what());
    return kNoConnection;
  }
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv); }
