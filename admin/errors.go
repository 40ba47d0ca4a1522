package admin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/understudy-serving/understudy/rollout"
)

// RevisionHeader is response metadata of an ABORTED change: the model's current
// revision, in decimal.
const RevisionHeader = "X-Understudy-Revision"

// Why a caller, or what it sent, is refused before any rollout is asked.
var (
	errNoToken     = errors.New("no token: send `Authorization: Bearer TOKEN`; with the CLI, --token-file or UNDERSTUDY_TOKEN")
	errWrongToken  = errors.New("unknown token: its secret is none of admin.tokens; it may have been changed")
	errNotLocal    = errors.New("only callers on this machine are answered, for admin.tokens is empty; configure a token to call from elsewhere")
	errRole        = errors.New("role operator is needed to change a rollout")
	errReading     = errors.New("role viewer or operator is needed to read")
	errReporting   = errors.New("role reporter or operator is needed to report outcomes")
	errNoOutcomes  = errors.New("this gateway takes no outcomes: add the section `outcomes` to its config file, such as `outcomes: {window: 24h}`")
	errArgument    = errors.New("bad argument")
	errWatchers    = fmt.Errorf("%d watches are open, no more are allowed; end some", maxWatchers)
	errShutdown    = errors.New("the gateway shuts down; call again")
	errUnavailable = rollout.ErrUnavailable
)

// accessError is one of the errors above with what was found.
type accessError struct {
	kind   error
	detail string
}

func (e *accessError) Error() string {
	if e.detail == "" {
		return e.kind.Error()
	}
	return e.kind.Error() + " (" + e.detail + ")"
}

func (e *accessError) Unwrap() error { return e.kind }

// badArgument refuses a request's field, saying what would be right.
func badArgument(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", errArgument, field, fmt.Sprintf(format, args...))
}

// codes maps errors to gRPC codes; the first that errors.Is finds counts.
func codeOf(err error) connect.Code {
	for _, c := range []struct {
		is   error
		code connect.Code
	}{
		{errArgument, connect.CodeInvalidArgument},
		{errNoToken, connect.CodeUnauthenticated},
		{errWrongToken, connect.CodeUnauthenticated},
		{errNotLocal, connect.CodePermissionDenied},
		{errRole, connect.CodePermissionDenied},
		{errReading, connect.CodePermissionDenied},
		{errReporting, connect.CodePermissionDenied},
		{errNoOutcomes, connect.CodeFailedPrecondition},
		{rollout.ErrMalformed, connect.CodeInvalidArgument},
		{rollout.ErrForged, connect.CodeInvalidArgument},
		{rollout.ErrUnknownOutcome, connect.CodeInvalidArgument},
		{errWatchers, connect.CodeResourceExhausted},
		{errShutdown, connect.CodeUnavailable},
		{rollout.ErrUnknownModel, connect.CodeNotFound},
		{rollout.ErrStale, connect.CodeAborted},
		{rollout.ErrNotAllowed, connect.CodeFailedPrecondition},
		{errUnavailable, connect.CodeUnavailable},
		{context.Canceled, connect.CodeCanceled},
		{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
	} {
		if errors.Is(err, c.is) {
			return c.code
		}
	}
	return connect.CodeInternal
}

// rpcError is the one place where an error gets its gRPC code. A bad argument's error loses
// its prefix, for the code says it.
func rpcError(err error) *connect.Error {
	code := codeOf(err)
	text := err.Error()
	if code == connect.CodeInvalidArgument {
		text = strings.TrimPrefix(text, errArgument.Error()+": ")
	}
	out := connect.NewError(code, errors.New(text))
	var stale *rollout.StaleError
	if errors.As(err, &stale) {
		out.Meta().Set(RevisionHeader, strconv.FormatUint(stale.Current.Revision, 10))
	}
	return out
}

// maxNamed bounds how many models an error lists.
const maxNamed = 20

// detailed adds what an operator needs to know to a rollout's refusal: the models that
// there are, or the revision that there is.
func (s *Server) detailed(model string, expected *uint64, err error) error {
	var stale *rollout.StaleError
	switch {
	case errors.Is(err, rollout.ErrUnknownModel):
		return s.unknownModel(model)
	case errors.As(err, &stale) && stale.Expected == 0 && expected != nil:
		return &rollout.StaleError{Model: model, Expected: *expected, Current: stale.Current}
	case errors.Is(err, rollout.ErrStale) && stale == nil:
		v, getErr := s.opts.Rollouts.Get(model)
		if getErr != nil {
			return err
		}
		stale = &rollout.StaleError{Model: model, Current: v.State}
		if expected != nil {
			stale.Expected = *expected
		}
		return stale
	}
	return err
}

func (s *Server) unknownModel(model string) error {
	var names []string
	views := s.opts.Rollouts.List()
	for _, v := range views[:min(len(views), maxNamed)] {
		names = append(names, v.Model)
	}
	have := "; there are: " + strings.Join(names, ", ")
	switch more := len(views) - len(names); {
	case len(views) == 0:
		have = "; there are none"
	case more > 0:
		have += fmt.Sprintf(", and %d more", more)
	}
	return fmt.Errorf("%w %s%s", rollout.ErrUnknownModel, quoted(model), have)
}

// quoted quotes what a caller sent, cut to a length fit for logs.
func quoted(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}
