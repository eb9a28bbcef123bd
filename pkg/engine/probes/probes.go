// Package probes has the measurements that come with neoteny, one file each.
package probes
