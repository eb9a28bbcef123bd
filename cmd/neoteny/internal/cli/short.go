package cli

// short is as much of a digest as tells two apart at a glance.
func short(digest string) string { return digest[:min(len(digest), 16)] }
