// Package inputs has methods that change what the network is shown.
package inputs
