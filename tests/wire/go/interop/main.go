// Interop calls tests/wire/echo_host.py with stock grpc-go and says "ok NAME" for each thing that works.
//
//	interop ADDRESS [ROOTS.pem]
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	service  = "/waypost.test.Echo/"
	patience = 30 * time.Second
)

// raw hands messages through as bytes.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (raw) Name() string                       { return "proto" }

func main() {
	encoding.RegisterCodec(raw{})
	secure := insecure.NewCredentials()
	if len(os.Args) > 2 {
		secure = trusting(os.Args[2])
	}
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(secure),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<27), grpc.MaxCallSendMsgSize(1<<27)))
	must(err)
	defer connection.Close()
	whole, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, check := range []struct {
		name string
		run  func(context.Context, *grpc.ClientConn)
	}{
		{"unary", unary}, {"concurrent", concurrent}, {"metadata", echoedMetadata}, {"gzip", compressed},
		{"deadline", deadline}, {"cancel", cancelled}, {"error", failing}, {"unknown", unknown},
		{"stream", stream}, {"flow", flow},
	} {
		check.run(whole, connection)
		fmt.Println("ok", check.name)
	}
}

func trusting(path string) credentials.TransportCredentials {
	pem, err := os.ReadFile(path)
	must(err)
	roots := x509.NewCertPool()
	assert(roots.AppendCertsFromPEM(pem), "no roots in %s", path)
	return credentials.NewTLS(&tls.Config{RootCAs: roots})
}

func call(context context.Context, connection *grpc.ClientConn, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	var answer []byte
	err := connection.Invoke(context, service+method, &message, &answer, options...)
	return answer, err
}

func unary(context context.Context, connection *grpc.ClientConn) {
	for _, size := range []int{0, 1, 16_379, 16_380, 70_000, 1 << 20, 40_000_000} {
		message := bytes.Repeat([]byte{7}, size)
		answer, err := call(context, connection, "Unary", message)
		must(err)
		assert(bytes.Equal(answer, message), "%d bytes came back as %d", size, len(answer))
	}
}

func concurrent(context context.Context, connection *grpc.ClientConn) {
	var all sync.WaitGroup
	for caller := range 32 {
		all.Add(1)
		go func() {
			defer all.Done()
			for turn := range 50 {
				message := []byte(fmt.Sprintf("%d %d", caller, turn))
				answer, err := call(context, connection, "Unary", message)
				must(err)
				assert(bytes.Equal(answer, message), "%q came back as %q", message, answer)
			}
		}()
	}
	all.Wait()
}

func echoedMetadata(context context.Context, connection *grpc.ClientConn) {
	var trailer metadata.MD
	with := metadata.AppendToOutgoingContext(context, "echo", "hello", "blob-bin", "\x00\xff")
	_, err := call(with, connection, "Unary", nil, grpc.Trailer(&trailer))
	must(err)
	assert(len(trailer.Get("echo")) == 1 && trailer.Get("echo")[0] == "hello", "trailers %v", trailer)
}

func compressed(context context.Context, connection *grpc.ClientConn) {
	for _, size := range []int{10, 10_000, 5_000_000} {
		message := bytes.Repeat([]byte("abc"), size/3)
		answer, err := call(context, connection, "Unary", message, grpc.UseCompressor(gzip.Name))
		must(err)
		assert(bytes.Equal(answer, message), "%d compressed bytes came back as %d", len(message), len(answer))
	}
}

func deadline(whole context.Context, connection *grpc.ClientConn) {
	short, cancel := context.WithTimeout(whole, 50*time.Millisecond)
	defer cancel()
	_, err := call(short, connection, "Never", nil)
	assert(status.Code(err) == codes.DeadlineExceeded, "%v", err)
}

func cancelled(whole context.Context, connection *grpc.ClientConn) {
	before := withdrawn(whole, connection)
	short, cancel := context.WithCancel(whole)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := call(short, connection, "Never", nil)
	assert(status.Code(err) == codes.Canceled, "%v", err)
	for withdrawn(whole, connection) == before {
		time.Sleep(time.Millisecond)
	}
}

func withdrawn(context context.Context, connection *grpc.ClientConn) int {
	answer, err := call(context, connection, "Withdrawn", nil)
	must(err)
	count, err := strconv.Atoi(string(answer))
	must(err)
	return count
}

func failing(context context.Context, connection *grpc.ClientConn) {
	_, err := call(context, connection, "Fail", nil)
	found := status.Convert(err)
	assert(found.Code() == codes.FailedPrecondition, "%v", err)
	assert(found.Message() == "100 % refused: café", "%q", found.Message())
	assert(len(found.Details()) == 2, "%v", found.Details())
}

func unknown(context context.Context, connection *grpc.ClientConn) {
	_, err := call(context, connection, "Nothing", nil)
	assert(status.Code(err) == codes.Unimplemented, "%v", err)
}

func open(context context.Context, connection *grpc.ClientConn, method string) grpc.ClientStream {
	description := grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(context, &description, service+method)
	must(err)
	return stream
}

func stream(context context.Context, connection *grpc.ClientConn) {
	echo := open(context, connection, "Stream")
	for _, size := range []int{0, 1, 100_000, 9_000_000, 3} {
		message := bytes.Repeat([]byte{9}, size)
		must(echo.SendMsg(&message))
		var answer []byte
		must(echo.RecvMsg(&answer))
		assert(bytes.Equal(answer, message), "%d bytes came back as %d", size, len(answer))
	}
	must(echo.CloseSend())
	var none []byte
	assert(echo.RecvMsg(&none) == io.EOF, "the stream did not end")
}

func flow(context context.Context, connection *grpc.ClientConn) {
	counted := open(context, connection, "Count")
	wish := []byte("2000 20000")
	must(counted.SendMsg(&wish))
	must(counted.CloseSend())
	for number := range 2000 {
		var message []byte
		must(counted.RecvMsg(&message))
		assert(len(message) == 20_000, "message %d has %d bytes", number, len(message))
	}
	var none []byte
	assert(counted.RecvMsg(&none) == io.EOF, "the stream did not end")
}

func must(err error) {
	assert(err == nil, "%v", err)
}

func assert(true bool, format string, values ...any) {
	if !true {
		fmt.Printf("failed: "+format+"\n", values...)
		os.Exit(1)
	}
}
