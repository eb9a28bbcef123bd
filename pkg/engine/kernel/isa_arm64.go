package kernel

const hasNEON = true // every arm64 machine that Go runs on has it
