#include "load.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace bench {
namespace {

constexpr Nanos kDrainWithin = 10 * kSecond;  // after the window, for answers that are still out
constexpr int64_t kFailuresMax = 1000;        // in a closed loop: a server that refuses everything is not asked forever
constexpr size_t kWaitingMax = 100'000;       // calls due but unsent in an open loop: two seconds of the fastest server
constexpr Nanos kIdleWait = kSecond / 10;
constexpr size_t kEventsMax = 64;

Nanos nanos(double seconds) { return static_cast<Nanos>(seconds * 1e9); }

}  // namespace

Load::Load(const Plan& plan, Connect connect, const CpuMeter& meter)
    : plan_(plan), connect_(std::move(connect)), meter_(meter), epoll_(epoll_create1(EPOLL_CLOEXEC)), random_(plan.seed) {
  if (open_loop()) distance_s_ = std::exponential_distribution<double>(plan.rate);
}

Load::~Load() { close(epoll_); }

Result Load::run() {
  connections_.resize(static_cast<size_t>(plan_.connections));
  watches_writable_.resize(connections_.size());
  for (size_t i = 0; i < connections_.size(); i++) open(i);
  start_ = next_due_ = now();
  measure_at_ = start_ + nanos(plan_.warm_up_s);
  end_at_ = measure_at_ + nanos(plan_.seconds);
  if (!open_loop())
    for (int i = 0; i < plan_.in_flight && calls_left(); i++) {
      size_t connection = connection_with_room();
      if (connection == connections_.size()) throw std::runtime_error("too few connections for these calls in flight");
      use(connection, [&](Connection&) { begin(now(), connection); });
    }
  for (Nanos at = now(); !finished(at); at = now()) {
    read_meters(at);
    if (open_loop()) send_due(at);
    expire(at);
    wait(at);
  }
  read_meters(std::max(now(), end_at_));
  result_.failures["UNANSWERED"] += std::count_if(in_flight_.begin(), in_flight_.end(),
                                                  [this](auto& each) { return counts(each.second.due); });
  std::sort(result_.latencies.begin(), result_.latencies.end());
  return std::move(result_);
}

void Load::open(size_t index) {
  connections_[index] = connect_([this](const Reply& reply) { on_reply(reply); });
  epoll_event event{EPOLLIN, {.u64 = index}};
  epoll_ctl(epoll_, EPOLL_CTL_ADD, connections_[index]->fd(), &event);
  watches_writable_[index] = false;
}

// What was in flight on a broken connection has failed; whoever waits for it goes on with a new one.
void Load::reopen(size_t index, const std::string& why) {
  std::vector<uint64_t> lost;
  for (auto& [call, in_flight] : in_flight_)
    if (in_flight.connection == index) lost.push_back(call);
  open(index);
  for (uint64_t call : lost) on_reply({call, "CONNECTION_LOST", {}, why});
  watch(index, connections_[index]->wants_to_write());
}

// Not inside of on_reply: a connection must not be replaced while it hands over a reply.
template <typename Use>
void Load::use(size_t index, Use use) {
  try {
    use(*connections_[index]);
    watch(index, connections_[index]->wants_to_write());
  } catch (const TransportError& error) {
    reopen(index, error.what());
  }
}

void Load::watch(size_t index, bool also_writable) {
  if (watches_writable_[index] == also_writable) return;
  epoll_event event{EPOLLIN | (also_writable ? EPOLLOUT : 0u), {.u64 = index}};
  epoll_ctl(epoll_, EPOLL_CTL_MOD, connections_[index]->fd(), &event);
  watches_writable_[index] = also_writable;
}

void Load::begin(Nanos due, size_t connection) {
  uint64_t id = next_call_++;
  const Call& call = plan_.calls[id % plan_.calls.size()];
  in_flight_[id] = {due, &call, connection};
  if (plan_.timeout_ms > 0) expiries_.push_back({due + plan_.timeout_ms * (kSecond / 1000), id});
  result_.due += counts(due);
  connections_[connection]->send(id, call.request);
}

void Load::on_reply(const Reply& reply) {
  auto node = in_flight_.extract(reply.call);
  if (node.empty()) return;
  Nanos at = now();
  record(node.mapped(), reply, at);
  if (!open_loop() && at < end_at_ && failed_ < kFailuresMax && calls_left()) begin(at, node.mapped().connection);
}

void Load::record(const InFlight& ended, const Reply& reply, Nanos at) {
  bool right = reply.outcome == kOk && matches(plan_.form, reply.body, ended.call->expected);
  (reply.outcome == kOk ? answers_ : failed_)++;
  if (!right && result_.first_failure.empty())
    result_.first_failure = reply.outcome == kOk ? "wrong numbers" : std::string(reply.outcome) + ": " + std::string(reply.message);
  if (!counts(ended.due)) return;
  if (reply.outcome != kOk) {
    result_.failures[std::string(reply.outcome)]++;
  } else if (!right) {
    result_.wrong++;
  } else {
    result_.latencies.push_back(at - ended.due);
    result_.in_time += plan_.timeout_ms == 0 || at - ended.due <= plan_.timeout_ms * (kSecond / 1000);
  }
}

void Load::send_due(Nanos at) {
  for (; next_due_ <= at && next_due_ < end_at_; next_due_ += nanos(distance_s_(random_))) waiting_.push_back(next_due_);
  if (waiting_.size() > kWaitingMax) throw std::runtime_error("the server is too slow for this rate");
  while (!waiting_.empty()) {
    size_t connection = connection_with_room();
    if (connection == connections_.size()) return;
    Nanos due = waiting_.front();
    waiting_.pop_front();
    use(connection, [&](Connection&) { begin(due, connection); });
  }
}

void Load::expire(Nanos at) {
  while (!expiries_.empty() && expiries_.front().at <= at) {
    uint64_t id = expiries_.front().call;
    expiries_.pop_front();
    auto found = in_flight_.find(id);
    if (found == in_flight_.end()) continue;
    use(found->second.connection, [&](Connection& connection) {
      if (connection.cancel(id)) on_reply({id, "GIVEN_UP", {}, "no answer within the deadline"});
    });
  }
}

void Load::read_meters(Nanos at) {
  if (metered_from_ == 0 && at >= measure_at_) {
    metered_from_ = now();
    result_.server_cpu_s = -meter_.seconds();
    result_.driver_cpu_s = -own_cpu_seconds();
    result_.answers = -answers_;
  }
  if (metered_to_ == 0 && at >= end_at_) {
    metered_to_ = now();
    result_.server_cpu_s += meter_.seconds();
    result_.driver_cpu_s += own_cpu_seconds();
    result_.answers += answers_;
    result_.window_s = static_cast<double>(metered_to_ - metered_from_) / 1e9;
  }
}

bool Load::finished(Nanos at) const {
  bool idle = in_flight_.empty() && waiting_.empty();
  if (at < end_at_) return idle && !open_loop();  // no caller goes on
  return idle || at > end_at_ + kDrainWithin;
}

void Load::wait(Nanos at) {
  Nanos until = at + kIdleWait;
  for (Nanos next : {measure_at_, end_at_})
    if (next > at) until = std::min(until, next);
  if (open_loop() && next_due_ < end_at_) until = std::min(until, next_due_);
  if (!expiries_.empty()) until = std::min(until, expiries_.front().at);
  Nanos left = std::max<Nanos>(0, until - now());
  timespec timeout{left / kSecond, left % kSecond};
  epoll_event events[kEventsMax];
  int count = epoll_pwait2(epoll_, events, kEventsMax, &timeout, nullptr);
  for (int i = 0; i < count; i++) {
    uint32_t ready = events[i].events;
    use(events[i].data.u64, [ready](Connection& connection) {
      if (ready & EPOLLOUT) connection.flush();
      if (ready & ~static_cast<uint32_t>(EPOLLOUT)) connection.receive();
    });
  }
}

// The next one in turn that may take a call; connections_.size() where none may.
size_t Load::connection_with_room() {
  for (size_t tried = 0; tried < connections_.size(); tried++) {
    size_t index = next_connection_++ % connections_.size();
    if (connections_[index]->has_room()) return index;
  }
  return connections_.size();
}

}  // namespace bench
