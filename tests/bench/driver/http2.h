// The client's half of gRPC over HTTP/2 (RFC 9113, gRPC PROTOCOL-HTTP2), unary calls of one method.
//
// grpc's own C++ client costs about 20 µs a call, as much as the servers that are to be measured; this one costs a
// quarter of that. It keeps to the rules of flow control and header compression, so every server takes it for a client
// like others; what it leaves out is what a load driver never does (streams of messages, compression, retries).
#pragma once

#include <map>
#include <optional>
#include <unordered_map>

#include "connection.h"
#include "hpack.h"

namespace bench {

struct Http2Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Metadata of every call, in the order in which gRPC clients send it.
std::vector<Field> grpc_headers(const std::string& method, const std::vector<Field>& metadata, int timeout_ms, bool tls);

class GrpcConnection : public Connection {
 public:
  // Returns when the server has sent its settings. headers: as of grpc_headers.
  GrpcConnection(const std::string& address, const Tls* tls, Done done, const std::vector<Field>& headers);

  bool has_room() const override { return streams_.size() < streams_max_ && !going_away_; }
  void send(uint64_t call, const std::string& request) override;
  bool cancel(uint64_t call) override;

 protected:
  size_t consume(std::string_view in) override;

 private:
  struct Stream {
    uint64_t call = 0;
    const std::string* request = nullptr;
    size_t sent = 0;  // of the request
    bool started = false;
    int64_t window = 0;
    std::string reply;
    std::string status, message, http_status;
  };
  struct Frame {
    uint8_t type, flags;
    uint32_t stream;
    std::string_view payload;
  };

  void on_frame(Frame frame);
  void on_data(const Frame& frame);
  void on_headers(Frame frame);
  void on_header_block(uint32_t id, bool end_stream);
  void on_settings(const Frame& frame);
  void on_window_update(const Frame& frame);
  void finish(uint32_t id);
  void fail(uint32_t id, std::string_view outcome, std::string_view message);
  void push(uint32_t id, Stream& stream);
  void push_all();
  void put_frame(uint8_t type, uint8_t flags, uint32_t stream, std::string_view payload);
  void put_frame_head(uint8_t type, uint8_t flags, uint32_t stream, size_t size);

  RepeatedBlock headers_;
  HpackDecoder decoder_;
  std::unordered_map<uint32_t, Stream> streams_;
  std::map<uint32_t, uint64_t> blocked_;  // streams whose request waits for a window, and their calls
  std::string block_;                     // of a header block that comes in pieces
  uint8_t block_flags_ = 0;
  uint32_t next_stream_ = 1;
  int64_t window_ = 65535;  // RFC 9113 section 6.9.2, as the two below
  int64_t stream_window_ = 65535;
  size_t frame_max_ = 16384;
  size_t table_size_max_ = kTableSize;
  size_t streams_max_ = 1 << 20;
  size_t taken_ = 0;  // bytes of DATA since the last WINDOW_UPDATE of ours
  bool settings_seen_ = false, going_away_ = false;
};

}  // namespace bench
