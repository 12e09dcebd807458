// One connection to the server under test, whatever is spoken on it. Calls go in, replies come out; nothing blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "transport.h"

namespace bench {

// How a call ended. `outcome` is OK, the name of a gRPC status, HTTP_503 or the like; views hold during the callback.
struct Reply {
  uint64_t call;
  std::string_view outcome;
  std::string_view body;
  std::string_view message;
};

constexpr std::string_view kOk = "OK";

class Connection {
 public:
  using Done = std::function<void(const Reply&)>;

  Connection(const std::string& address, const Tls* tls, Done done)
      : done_(std::move(done)), transport_(address, tls) {}
  virtual ~Connection() = default;

  int fd() const { return transport_.fd(); }
  bool wants_to_write() const { return written_ < out_.size(); }

  // Whether one more call may be sent now.
  virtual bool has_room() const = 0;
  // Sends `request`, which must live until the reply. Each call leaves in a write of its own: callers do not wait for
  // one another, so their requests must not either.
  virtual void send(uint64_t call, const std::string& request) = 0;
  // Gives up on a call: no reply comes. Returns false where the protocol has no way to say so.
  virtual bool cancel(uint64_t call) = 0;

  // Moves what can be moved. Throw TransportError or another runtime_error when the connection is of no more use.
  void receive();
  void flush();

 protected:
  // Takes whole units off the front of `in`; returns how many bytes that were.
  virtual size_t consume(std::string_view in) = 0;

  std::string out_;  // what is to be written; from written_ on it still is
  Done done_;

 private:
  Transport transport_;
  std::string in_;
  size_t written_ = 0;
};

}  // namespace bench
