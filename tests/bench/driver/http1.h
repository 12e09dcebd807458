// The client's half of HTTP/1.1 with keep-alive (RFC 9112): one call at a time on each connection.
#pragma once

#include "connection.h"

namespace bench {

struct Http1Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class HttpConnection : public Connection {
 public:
  using Connection::Connection;

  bool has_room() const override { return !busy_; }
  // request: start line, headers and body as they go over the wire.
  void send(uint64_t call, const std::string& request) override;
  bool cancel(uint64_t) override { return false; }

 protected:
  size_t consume(std::string_view in) override;

 private:
  bool busy_ = false;
  uint64_t call_ = 0;
};

}  // namespace bench
