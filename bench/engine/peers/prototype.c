// The bound of a batch-1 step: an MLP with ReLU, cross-entropy and SGD in plain C, arrays input-major, inputs that are
// zero skipped, backward pass and update in one pass over the weights. No framework: what a compiler makes of the idea.
//
// prototype X Y EXAMPLES SIZE...: reads seconds from stdin, answers "steps wall cpu" on stdout.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(clockid_t c) { struct timespec t; clock_gettime(c, &t); return t.tv_sec + t.tv_nsec * 1e-9; }

static void *load(const char *path, size_t bytes) {
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
	FILE *f = fopen(path, "rb");
	if (!p || !f || fread(p, 1, bytes, f) != bytes) { fprintf(stderr, "cannot read %s\n", path); exit(1); }
	fclose(f);
	return p;
}

static int layers, size[16];
static float *w[16], *b[16], *act[16], *grad[16];

static void step(const float *x, int label, float lr) {
	act[0] = (float *)x;
	for (int l = 0; l < layers; l++) {
		int n = size[l + 1];
		float *restrict y = act[l + 1];
		memcpy(y, b[l], n * sizeof(float));
		for (int i = 0; i < size[l]; i++) {
			float a = act[l][i];
			if (a == 0) continue;
			const float *restrict row = w[l] + (size_t)i * n;
			for (int j = 0; j < n; j++) y[j] += a * row[j];
		}
		if (l < layers - 1) for (int j = 0; j < n; j++) y[j] = y[j] > 0 ? y[j] : 0;
	}
	float *out = act[layers], *d = grad[layers], max = out[0], sum = 0;
	for (int j = 1; j < size[layers]; j++) max = out[j] > max ? out[j] : max;
	for (int j = 0; j < size[layers]; j++) sum += d[j] = expf(out[j] - max);
	for (int j = 0; j < size[layers]; j++) d[j] = d[j] / sum - (j == label);
	for (int l = layers - 1; l >= 0; l--) {
		int n = size[l + 1];
		const float *restrict dy = grad[l + 1];
		for (int i = 0; i < size[l]; i++) {
			float a = act[l][i], dot = 0, s = lr * a;
			if (l > 0) grad[l][i] = 0;
			if (a == 0) continue;
			float *restrict row = w[l] + (size_t)i * n;
			if (l > 0) {
#pragma omp simd reduction(+ : dot)
				for (int j = 0; j < n; j++) { float v = row[j]; dot += v * dy[j]; row[j] = v - s * dy[j]; }
				grad[l][i] = dot;
			} else
				for (int j = 0; j < n; j++) row[j] -= s * dy[j];
		}
		for (int j = 0; j < n; j++) b[l][j] -= lr * dy[j];
	}
}

int main(int argc, char **argv) {
	int examples = atoi(argv[3]);
	for (layers = -1; argv[layers + 5]; layers++) size[layers + 1] = atoi(argv[layers + 5]);
	float *x = load(argv[1], sizeof(float) * examples * size[0]);
	int *y = load(argv[2], sizeof(int) * examples);
	for (int l = 0; l < layers; l++) {
		size_t n = (size_t)size[l] * size[l + 1];
		w[l] = aligned_alloc(64, (n * 4 + 63) / 64 * 64);
		b[l] = calloc(size[l + 1], 4), act[l + 1] = calloc(size[l + 1], 4), grad[l + 1] = calloc(size[l + 1], 4);
		for (size_t i = 0; i < n; i++) w[l][i] = (2.f * rand() / RAND_MAX - 1) / sqrtf(size[l]);
	}
	long at = 0;
	for (double seconds; scanf("%lf", &seconds) == 1; fflush(stdout)) {
		long n = 0;
		double cpu = now(CLOCK_PROCESS_CPUTIME_ID), start = now(CLOCK_MONOTONIC);
		while (now(CLOCK_MONOTONIC) - start < seconds || n < 3)
			for (int i = 0; i < 4; i++, n++, at = (at + 1) % examples) step(x + (size_t)at * size[0], y[at], 1e-3f);
		printf("%ld %.9f %.9f\n", n, now(CLOCK_MONOTONIC) - start, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	}
}
