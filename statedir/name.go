package statedir

// IsName says whether s may be the name of a network, a container ID, or part of
// the name of a file: a letter or digit first, then these, '_', '.' and '-'. It is
// what the CNI specification allows, and written out because the plugins would
// take longer to compile the pattern than to use it.
func IsName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}
