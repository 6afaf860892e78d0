/* Train one perceptron, INPUTS -> HIDDEN -> HIDDEN -> 1, for a run of steps: everything of a step in the first two
 * caches, nothing allocated, no call into a maths library.
 *
 * The same bits on every machine. A sum over rows or units is taken one after the other, by lanes that are
 * independent outputs, so their number (4, 8 or 16) does not show. A fused multiply-add is written where one is
 * meant, and -ffp-contract=off forbids others. exp and the normal distribution function are polynomials here. What
 * is left are IEEE 754's +, -, *, /, square root and fma, which every processor rounds alike. model/reference.py is
 * the same program in NumPy, and native.py runs one against the other before it uses a library.
 *
 * Built by native.py with -DINPUTS (a multiple of 4), -DHIDDEN (of 32) and -DBATCH (of 4).
 */
#include <stdint.h>
#include <string.h>

#if defined(LANES) /* a test asks for another width than the machine's */
#elif defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vf __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define ALL(scalar) ((scalar) - (vf){0}) /* x - 0 is x for every x, and costs nothing; 0 + x is not */

#if defined(__x86_64__)
#include <immintrin.h>
#if LANES == 16 && defined(__AVX512F__)
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define SQRT(x) ((vf)_mm512_sqrt_ps((__m512)(x)))
#elif LANES == 8 && defined(__FMA__)
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define SQRT(x) ((vf)_mm256_sqrt_ps((__m256)(x)))
#elif LANES == 4 && defined(__FMA__)
#define FMA(a, b, c) ((vf)_mm_fmadd_ps((__m128)(a), (__m128)(b), (__m128)(c)))
#define SQRT(x) ((vf)_mm_sqrt_ps((__m128)(x)))
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define SQRT(x) ((vf)vsqrtq_f32((float32x4_t)(x)))
#endif
#if !defined(FMA) /* right on any machine, and far too slow where fma is a function call */
INLINE vf fma_lanes(vf a, vf b, vf c) {
  for (int i = 0; i < LANES; i++) a[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return a;
}
INLINE vf sqrt_lanes(vf a) {
  for (int i = 0; i < LANES; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
#define FMA fma_lanes
#define SQRT sqrt_lanes
#endif

INLINE vf load(const float *at) { return *(const vf *)at; }
INLINE void store(float *at, vf value) { *(vf *)at = value; }
INLINE vf pick(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

/* Parameters, their gradients and Adam's two moments all lie like this; OUT_BIAS is one number and padding. */
struct layout {
  float w1[INPUTS * HIDDEN], b1[HIDDEN], w2[HIDDEN * HIDDEN], b2[HIDDEN], w3[HIDDEN], b3[16];
};
#define N_PARAMETERS (sizeof(struct layout) / sizeof(float))

struct member { /* what a member is between two calls; NumPy owns the memory */
  struct layout value, first, second;
};

struct scratch {
  struct layout gradient;
  float inputs[BATCH * INPUTS], hidden1[BATCH * HIDDEN], hidden2[BATCH * HIDDEN];
  float slope1[BATCH * HIDDEN], slope2[BATCH * HIDDEN]; /* d hidden / d its input; later the loss's, for delta */
  float w2_transposed[HIDDEN * HIDDEN], delta1[BATCH * HIDDEN];
  float truth[BATCH], weight[BATCH], error[BATCH];
  uint32_t words[BATCH * HIDDEN];
};

#define TILE_ROWS 4
#define TILE_COLUMNS 2

/* out[r][c] = start[c] + sum over k of a(r, k) b[k][c], k ascending, every addition fused; out and b are HIDDEN wide.
 * A tile of 4 rows x 2 vectors is summed in registers: 8 chains hide the latency of two fma units. */
INLINE void product(const float *restrict a, long row_stride, long k_stride, long rows, long n_k,
                    const float *restrict b, const float *restrict start, float *restrict out) {
  for (long r = 0; r < rows; r += TILE_ROWS)
    for (long c = 0; c < HIDDEN; c += TILE_COLUMNS * LANES) {
      vf sum[TILE_ROWS][TILE_COLUMNS];
#pragma GCC unroll 8
      for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < TILE_COLUMNS; j++) sum[i][j] = start ? load(start + c + j * LANES) : (vf){0};
      for (long k = 0; k < n_k; k++) {
        vf right[TILE_COLUMNS];
#pragma GCC unroll 8
        for (int j = 0; j < TILE_COLUMNS; j++) right[j] = load(b + k * HIDDEN + c + j * LANES);
#if defined(__x86_64__) && LANES == 8
        /* Keeps gcc 12 from loading `right` again for every row, which costs half as much time again. */
        __asm__("" : "+x"(right[0]), "+x"(right[1]));
#endif
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
          vf left = ALL(a[(r + i) * row_stride + k * k_stride]);
#pragma GCC unroll 8
          for (int j = 0; j < TILE_COLUMNS; j++) sum[i][j] = FMA(left, right[j], sum[i][j]);
        }
      }
#pragma GCC unroll 8
      for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 8
        for (int j = 0; j < TILE_COLUMNS; j++) store(out + (r + i) * HIDDEN + c + j * LANES, sum[i][j]);
    }
}

/* GELU and its derivative at z. exp(-z^2/2) = 2^n 2^f with a polynomial of degree 6 on |f| <= 1/2 (Chebyshev, our
 * fit, 2.6e-9 relative); the distribution function by Abramowitz and Stegun 26.2.17 (7.5e-8 absolute). */
#define SIDE 4 /* vectors side by side: one's chain of operations is too long for a core to look past it */
#define EACH for (int j = 0; j < SIDE; j++)
INLINE void gelu(const vf z[SIDE], vf value[SIDE], vf slope[SIDE]) {
  vf power[SIDE], n[SIDE], p[SIDE], q[SIDE], u[SIDE];
  EACH power[j] = (z[j] * z[j]) * -0.72134752f; /* -z^2/2 in units of ln 2 */
  EACH power[j] = pick(power[j] < -125.0f, ALL(-125.0f), power[j]);
  EACH n[j] = (power[j] + 12582912.0f) - 12582912.0f; /* adding 1.5 x 2^23 rounds to the nearest whole number */
  EACH power[j] = power[j] - n[j];
  EACH u[j] = FMA(ALL(0.23164190f), pick(z[j] < 0.0f, -z[j], z[j]), ALL(1.0f));
  EACH u[j] = ALL(1.0f) / u[j];
  EACH p[j] = FMA(power[j], ALL(1.5461445e-4f), ALL(1.3400428e-3f));
  EACH p[j] = FMA(p[j], power[j], ALL(9.6180569e-3f));
  EACH p[j] = FMA(p[j], power[j], ALL(5.5503272e-2f));
  EACH p[j] = FMA(p[j], power[j], ALL(2.4022651e-1f));
  EACH p[j] = FMA(p[j], power[j], ALL(6.9314718e-1f));
  EACH p[j] = FMA(p[j], power[j], ALL(1.0f));
  EACH p[j] = (vf)((vi)p[j] + (__builtin_convertvector(n[j], vi) << 23)); /* exp(-z^2/2) */
  EACH q[j] = FMA(u[j], ALL(0.53070271f), ALL(-0.72657602f));
  EACH q[j] = FMA(q[j], u[j], ALL(0.71070687f));
  EACH q[j] = FMA(q[j], u[j], ALL(-0.14224837f));
  EACH q[j] = FMA(q[j], u[j], ALL(0.12741480f));
  EACH q[j] = q[j] * (u[j] * p[j]);
  EACH q[j] = pick(z[j] < 0.0f, q[j], 1.0f - q[j]);
  EACH value[j] = z[j] * q[j];
  EACH slope[j] = FMA(z[j] * p[j], ALL(0.39894228f), q[j]);
}

/* MurmurHash3's finaliser (Appleby, public domain). */
#define MIX(x)                         \
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;   \
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;   \
  x = x ^ (x >> 16)
#define GOLDEN 0x9E3779B9u

struct dropout {
  uint32_t key;       /* of this member and step; see keep_masks in ensemble.py */
  uint32_t threshold; /* drop where 16 bits are below it */
  float scale;        /* of what is kept */
};

/* hidden := gelu(hidden) * mask and slope := gelu'(hidden) * mask. Layer 1 draws the words and uses their low
 * halves, layer 2 the high halves. */
INLINE void activate(struct dropout drop, int layer, uint32_t *words, float *hidden, float *slope) {
  vu lane;
  for (int i = 0; i < LANES; i++) lane[i] = (uint32_t)i * GOLDEN;
  for (long at = 0; at < BATCH * HIDDEN; at += SIDE * LANES) {
    vf z[SIDE], mask[SIDE], value[SIDE], derivative[SIDE];
    EACH z[j] = load(hidden + at + j * LANES);
    gelu(z, value, derivative);
    EACH {
      vu word = lane + ((uint32_t)(at + j * LANES) * GOLDEN + drop.key);
      vu *kept = (vu *)(words + at + j * LANES);
      if (layer == 1) {
        MIX(word);
        *kept = word;
        word = word & 0xFFFFu;
      } else {
        word = *kept >> 16;
      }
      mask[j] = pick((vi)word < (int32_t)drop.threshold, ALL(0.0f), ALL(drop.scale));
    }
    EACH store(hidden + at + j * LANES, value[j] * mask[j]);
    EACH store(slope + at + j * LANES, derivative[j] * mask[j]);
  }
}

static void transpose(const float *restrict from, float *restrict to) {
  typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
  for (long i = 0; i < HIDDEN; i += 4)
    for (long j = 0; j < HIDDEN; j += 4) {
      const float *at = from + i * HIDDEN + j;
      v4 a = *(const v4 *)at, b = *(const v4 *)(at + HIDDEN);
      v4 c = *(const v4 *)(at + 2 * HIDDEN), d = *(const v4 *)(at + 3 * HIDDEN);
      v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      v4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      float *out = to + j * HIDDEN + i;
      *(v4 *)out = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
      *(v4 *)(out + HIDDEN) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
      *(v4 *)(out + 2 * HIDDEN) = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
      *(v4 *)(out + 3 * HIDDEN) = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
    }
}

INLINE void sum_rows(const float *values, float *out) {
  for (long c = 0; c < HIDDEN; c += LANES) {
    vf sum = {0};
    for (long row = 0; row < BATCH; row++) sum += load(values + row * HIDDEN + c);
    store(out + c, sum);
  }
}

/* error := d loss / d score of each row; the score sums 16 strided parts, then halves them. */
INLINE void score_rows(struct scratch *s, const struct layout *p, float total_weight) {
  float bias_gradient = 0;
  for (long row = 0; row < BATCH; row++) {
    float part[16] = {0};
    for (long c = 0; c < HIDDEN; c += 16)
      for (int i = 0; i < 16; i++) part[i] += s->hidden2[row * HIDDEN + c + i] * p->w3[c + i];
    for (int half = 8; half; half /= 2)
      for (int i = 0; i < half; i++) part[i] += part[i + half];
    s->error[row] = (2.0f * s->weight[row]) * ((part[0] + p->b3[0]) - s->truth[row]) / total_weight;
    bias_gradient += s->error[row];
  }
  s->gradient.b3[0] = bias_gradient;
}

INLINE void backward(struct scratch *s, const struct layout *p) {
  struct layout *g = &s->gradient;
  float *delta2 = s->slope2;
  for (long c = 0; c < HIDDEN; c += LANES) {
    vf sum = {0}, w3 = load(p->w3 + c);
    for (long row = 0; row < BATCH; row++) {
      vf error = ALL(s->error[row]);
      sum = FMA(error, load(s->hidden2 + row * HIDDEN + c), sum);
      store(delta2 + row * HIDDEN + c, load(delta2 + row * HIDDEN + c) * (error * w3));
    }
    store(g->w3 + c, sum);
  }
  product(s->hidden1, 1, HIDDEN, HIDDEN, BATCH, delta2, 0, g->w2);
  sum_rows(delta2, g->b2);
  transpose(p->w2, s->w2_transposed);
  product(delta2, HIDDEN, 1, BATCH, HIDDEN, s->w2_transposed, 0, s->delta1);
  for (long i = 0; i < BATCH * HIDDEN; i += LANES) store(s->delta1 + i, load(s->delta1 + i) * load(s->slope1 + i));
  product(s->inputs, 1, INPUTS, INPUTS, BATCH, s->delta1, 0, g->w1);
  sum_rows(s->delta1, g->b1);
}

/* What changes from step to step: rate = lr / (1 - 0.9^t), correction = 1 / sqrt(1 - 0.999^t), decay = lr x decay of
 * AdamW (0 for Adam). */
struct rates {
  float rate, correction, decay;
};

/* Adam (Kingma and Ba 2015); `coupled` decay goes into the gradient, rates.decay does not (Loshchilov and Hutter). */
INLINE void adam(struct member *m, const struct layout *gradient, struct rates at, float coupled) {
  float *value = m->value.w1, *first = m->first.w1, *second = m->second.w1;
  const float *slopes = gradient->w1;
  for (unsigned long i = 0; i < N_PARAMETERS; i += LANES) {
    vf w = load(value + i);
    vf g = FMA(ALL(coupled), w, load(slopes + i));
    vf mean = FMA(ALL(0.9f), load(first + i), 0.1f * g);
    vf square = FMA(ALL(0.999f), load(second + i), 0.001f * (g * g));
    store(first + i, mean);
    store(second + i, square);
    vf move = (at.rate * mean) / FMA(SQRT(square), ALL(at.correction), ALL(1e-8f));
    store(value + i, FMA(ALL(-at.decay), w, w) - move);
  }
}

uint64_t member_bytes(void) { return sizeof(struct member); }
uint64_t scratch_bytes(void) { return sizeof(struct scratch); }

/* n_steps steps from number `step` on. inputs [N][INPUTS], truth [N] and weight [N] are the member's scaled rows,
 * order [n_steps][BATCH] the rows of each step. Both structs are 64-byte aligned; scratch holds zeros at first. */
void train(struct member *member, struct scratch *s, const float *inputs, const float *truth, const float *weight,
           const int32_t *order, const struct rates *rates, uint32_t n_steps, uint32_t step, uint32_t seed,
           uint32_t threshold, float scale, float coupled) {
  const struct layout *p = &member->value;
  for (uint32_t i = 0; i < n_steps; i++) {
    uint32_t key = step + i;
    MIX(key);
    key ^= seed;
    MIX(key);
    struct dropout drop = {key, threshold, scale};
    float total_weight = 0;
    for (long row = 0; row < BATCH; row++) {
      long from = order[(long)i * BATCH + row];
      memcpy(s->inputs + row * INPUTS, inputs + from * INPUTS, INPUTS * sizeof(float));
      s->truth[row] = truth[from];
      s->weight[row] = weight[from];
      total_weight += weight[from];
    }
    product(s->inputs, INPUTS, 1, BATCH, INPUTS, p->w1, p->b1, s->hidden1);
    activate(drop, 1, s->words, s->hidden1, s->slope1);
    product(s->hidden1, HIDDEN, 1, BATCH, HIDDEN, p->w2, p->b2, s->hidden2);
    activate(drop, 2, s->words, s->hidden2, s->slope2);
    score_rows(s, p, total_weight);
    backward(s, p);
    adam(member, &s->gradient, rates[i], coupled);
  }
}
