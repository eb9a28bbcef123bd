package api

import (
	"encoding/base64"
	"strings"

	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
)

func pageSize(asked int32, def, most int) (int, error) {
	switch {
	case asked < 0:
		return 0, rpc.InvalidArgument(component.Fieldf("page_size", "must not be negative, is %d", asked))
	case asked == 0:
		return def, nil
	}
	return min(int(asked), most), nil
}

// token makes a page token of the last entry's key.
func token(parts ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(parts, "\n")))
}

func readToken(t string, parts int) ([]string, error) {
	if t == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(t)
	out := strings.Split(string(b), "\n")
	if err != nil || len(out) != parts {
		return nil, errToken
	}
	return out, nil
}

var errToken = rpc.InvalidArgument(component.Fieldf("page_token", "is not from an earlier answer"))
