package app

// Short is as much of a digest as is needed to distinguish two at a glance.
func Short(digest string) string { return digest[:min(len(digest), 16)] }
