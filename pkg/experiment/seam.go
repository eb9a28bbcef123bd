package experiment

// NumericsVersion stands in for engine.NumericsVersion until that exists.
const NumericsVersion = 1
