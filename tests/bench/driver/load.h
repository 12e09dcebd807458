// One measurement: a stream of calls to one server, and what became of them.
//
// Closed loop: `in_flight` callers, each of which sends its next call when the last one is answered. Open loop: calls
// come at `rate` whatever the server does, at random distances (a Poisson process, the same one for every server), and
// a call's latency counts from the moment at which it was due: a server that stalls is not spared the queue that it
// causes ("coordinated omission").
//
// Calls that were due inside the window [start + warm_up, + seconds) are counted. CPU time is read at both ends of the
// window and divided by the answers between the two readings.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "answers.h"
#include "clock.h"
#include "connection.h"
#include "cpu.h"

namespace bench {

// A request as it goes to Connection::send, and the numbers that its answer must hold.
struct Call {
  std::string request;
  std::vector<float> expected;
};

struct Plan {
  std::vector<Call> calls;  // sent in turn
  Form form = Form::kMessage;
  int in_flight = 1;   // closed loop
  double rate = 0;     // open loop, calls a second; 0: closed loop
  uint32_t seed = 1;   // of the open loop's distances
  int connections = 1;
  int timeout_ms = 0;  // a call unanswered for so long is given up; 0: never
  double warm_up_s = 0, seconds = 1;
  uint64_t calls_max = 0;  // closed loop: sends no more than so many; 0: as many as there is time for
};

struct Result {
  std::vector<Nanos> latencies;  // of right answers; sorted
  std::map<std::string, int64_t> failures;
  int64_t wrong = 0;  // answers with status OK that hold other numbers
  int64_t in_time = 0;  // right answers within timeout_ms
  int64_t due = 0;      // calls that were due in the window
  double window_s = 0;  // between the two readings of the CPU time, as the three below
  int64_t answers = 0;
  double server_cpu_s = 0, driver_cpu_s = 0;
  std::string first_failure;
};

class Load {
 public:
  using Connect = std::function<std::unique_ptr<Connection>(Connection::Done)>;

  Load(const Plan& plan, Connect connect, const CpuMeter& meter);
  ~Load();

  // Throws TransportError and the like where no connection can be made.
  Result run();

 private:
  struct InFlight {
    Nanos due;
    const Call* call;
    size_t connection;
  };
  struct Expiry {
    Nanos at;
    uint64_t call;
  };

  void open(size_t index);
  void reopen(size_t index, const std::string& why);
  template <typename Use>
  void use(size_t index, Use use);
  void watch(size_t index, bool also_writable);
  void begin(Nanos due, size_t connection);
  void on_reply(const Reply& reply);
  void record(const InFlight& ended, const Reply& reply, Nanos at);
  void send_due(Nanos at);
  void expire(Nanos at);
  void read_meters(Nanos at);
  bool finished(Nanos at) const;
  void wait(Nanos at);
  size_t connection_with_room();
  bool calls_left() const { return plan_.calls_max == 0 || next_call_ < plan_.calls_max; }
  bool open_loop() const { return plan_.rate > 0; }
  bool counts(Nanos due) const { return due >= measure_at_ && due < end_at_; }

  const Plan& plan_;
  Connect connect_;
  const CpuMeter& meter_;
  int epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<bool> watches_writable_;
  std::unordered_map<uint64_t, InFlight> in_flight_;
  std::deque<Expiry> expiries_;
  std::deque<Nanos> waiting_;  // open loop: due, and no connection has room
  std::mt19937_64 random_;
  std::exponential_distribution<double> distance_s_{1.0};
  uint64_t next_call_ = 0;
  size_t next_connection_ = 0;
  int64_t answers_ = 0, failed_ = 0;
  Nanos start_ = 0, measure_at_ = 0, end_at_ = 0, next_due_ = 0;
  Nanos metered_from_ = 0, metered_to_ = 0;
  Result result_;
};

}  // namespace bench
