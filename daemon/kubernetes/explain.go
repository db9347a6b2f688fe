package kubernetes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// request is what was asked for, for messages.
type request struct {
	verb, resource, group string
}

func (r request) String() string { return r.verb + " " + r.resource }

// user finds out of a refusal who was refused.
var user = regexp.MustCompile(`User "([^"]+)"`)

// explain says in one line what keeps a request from being answered and what
// to do. The same cause gives the same text: port numbers and resource
// versions, new in each attempt, are left out.
func (c *client) explain(r request, err error) error {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server %s does not know who asks (401): the token or certificate is wrong or has expired; renew the kubeconfig, or the service account's token by restarting the pod", c.server)
	case apierrors.IsForbidden(err):
		return c.explainForbidden(r, err)
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of the API server %s is not trusted: %w; the CA in use must have signed it, and it must name this address", c.server, certificate.Err)
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Errorf("the API server %s does not speak TLS; correct the address or its scheme", c.server)
	case isStatus(err):
		return fmt.Errorf("the API server %s cannot %s: %w", c.server, r, err)
	default:
		return fmt.Errorf("the API server %s cannot be reached: %w; check that it runs and that this node has a way there", c.server, innermost(err))
	}
}

func (c *client) explainForbidden(r request, err error) error {
	who := "the daemon's user"
	if found := user.FindStringSubmatch(err.Error()); found != nil {
		who = found[1]
	}
	return fmt.Errorf("%s may not %s: RBAC lacks a rule with apiGroups [%q], resources [%q], verbs [%q] for it; apply the ClusterRole and ClusterRoleBinding of Ropeway's manifest", who, r, r.group, r.resource, r.verb)
}

func isStatus(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// innermost is the cause without the addresses and the URL around it.
func innermost(err error) error {
	var lookup *net.DNSError
	var dial *net.OpError
	var asked *url.Error
	var call *os.SyscallError
	switch {
	case errors.As(err, &lookup):
		return errors.New("no address of " + lookup.Name + " is found: " + lookup.Err)
	case errors.As(err, &call):
		return call.Err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("no answer in time")
	case errors.As(err, &dial):
		return dial.Err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("it closed the connection")
	case errors.As(err, &asked):
		return innermost(asked.Err)
	case strings.Contains(err.Error(), "http2: client connection"):
		return errors.New("the connection was lost")
	}
	return err
}
