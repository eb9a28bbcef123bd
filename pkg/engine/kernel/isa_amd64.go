package kernel

const hasNEON = false
