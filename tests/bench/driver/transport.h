// A connected, non-blocking stream of bytes on this machine: TCP on loopback or a Unix socket, plain or inside TLS.
// The driver refuses every other address: it is made to put a server under load.
#pragma once

#include <sys/types.h>

#include <stdexcept>
#include <string>

struct ssl_st;
struct ssl_ctx_st;

namespace bench {

// What the operating system or TLS said when a connection could not be made or used.
struct TransportError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// How TLS is spoken: who signed the server's certificate, and the protocol to agree on (RFC 7301: "h2", "http/1.1").
struct Tls {
  std::string ca_file;
  std::string protocol;
};

class Transport {
 public:
  // address: 127.0.0.1:PORT or unix:/path. tls: null for plaintext. Blocks until connected. Throws TransportError.
  Transport(const std::string& address, const Tls* tls);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  int fd() const { return fd_; }

  // Bytes moved; 0 where nothing can be moved now. Throw TransportError when the peer has closed.
  size_t read(char* into, size_t size);
  size_t write(const char* from, size_t size);

 private:
  void secure(const Tls& tls);
  size_t moved_by_tls(int result) const;

  int fd_ = -1;
  ssl_ctx_st* context_ = nullptr;
  ssl_st* tls_ = nullptr;
};

}  // namespace bench
