package app

// Short is as much of a digest as tells two apart at a glance.
func Short(digest string) string { return digest[:min(len(digest), 16)] }
