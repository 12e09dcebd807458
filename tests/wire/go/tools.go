//go:build tools

// Programs that the tests run and that are not ours.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
