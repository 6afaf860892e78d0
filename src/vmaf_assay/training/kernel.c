/* Train one perceptron, INPUTS -> HIDDEN -> HIDDEN -> 1, for a run of steps. A step fits the first two caches,
 * allocates nothing, and does not call a maths library.
 *
 * The same bits on every machine. Sums over rows or units are sequential; SIMD lanes are independent outputs, so
 * their number (4, 8 or 16) does not change a result. Fused multiply-adds are explicit, and -ffp-contract=off forbids
 * others. exp, the normal distribution function and Adam's division are polynomials here. Only IEEE 754's +, -, *, /,
 * square root and fma remain, which every processor rounds alike. training/reference.py is the same program in NumPy,
 * and native.py compares both before it uses a library.
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
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define ALL(scalar) ((scalar) - (vf){0}) /* x - 0 is x for every x, and costs nothing; 0 + x is not */

/* NEGATIVE picks by the sign bit. TURN_LOW and TURN_HIGH interleave the first and last two of every four lanes of two
 * vectors, PAIR_LOW and PAIR_HIGH their first and last pairs. */
#if defined(__x86_64__)
#include <immintrin.h>
#if LANES == 16 && defined(__AVX512F__)
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define SQRT(x) ((vf)_mm512_sqrt_ps((__m512)(x)))
#define MIN(a, b) ((vf)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define SIGNS(z) _mm512_cmplt_epi32_mask((__m512i)(z), _mm512_setzero_si512())
#define NEGATIVE(z, yes, no) ((vf)_mm512_mask_blend_ps(SIGNS(z), (__m512)(no), (__m512)(yes)))
#define TURN_LOW(a, b) ((vf)_mm512_unpacklo_ps((__m512)(a), (__m512)(b)))
#define TURN_HIGH(a, b) ((vf)_mm512_unpackhi_ps((__m512)(a), (__m512)(b)))
#define PAIR_LOW(a, b) ((vf)_mm512_shuffle_ps((__m512)(a), (__m512)(b), 0x44))
#define PAIR_HIGH(a, b) ((vf)_mm512_shuffle_ps((__m512)(a), (__m512)(b), 0xEE))
#elif LANES == 8 && defined(__FMA__)
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define SQRT(x) ((vf)_mm256_sqrt_ps((__m256)(x)))
#define MIN(a, b) ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define NEGATIVE(z, yes, no) ((vf)_mm256_blendv_ps((__m256)(no), (__m256)(yes), (__m256)(z)))
#define TURN_LOW(a, b) ((vf)_mm256_unpacklo_ps((__m256)(a), (__m256)(b)))
#define TURN_HIGH(a, b) ((vf)_mm256_unpackhi_ps((__m256)(a), (__m256)(b)))
#define PAIR_LOW(a, b) ((vf)_mm256_shuffle_ps((__m256)(a), (__m256)(b), 0x44))
#define PAIR_HIGH(a, b) ((vf)_mm256_shuffle_ps((__m256)(a), (__m256)(b), 0xEE))
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
#if !defined(MIN)
#define MIN(a, b) pick((a) < (b), a, b)
#define NEGATIVE(z, yes, no) pick((vi)(z) < 0, yes, no)
#endif
#if !defined(TURN_LOW) /* four lanes, or a width that no machine asks for but a test */
INLINE vf turned(vf a, vf b, int from_a, int from_b) {
  vf out;
  for (int i = 0; i < LANES; i += 4) {
    out[i] = a[i + from_a], out[i + 1] = b[i + from_a];
    out[i + 2] = a[i + from_b], out[i + 3] = b[i + from_b];
  }
  return out;
}
INLINE vf paired(vf a, vf b, int from) {
  for (int i = 0; i < LANES; i += 4) {
    vf first = a;
    a[i] = first[i + from], a[i + 1] = first[i + from + 1];
    a[i + 2] = b[i + from], a[i + 3] = b[i + from + 1];
  }
  return a;
}
#define TURN_LOW(a, b) turned(a, b, 0, 1)
#define TURN_HIGH(a, b) turned(a, b, 2, 3)
#define PAIR_LOW(a, b) paired(a, b, 0)
#define PAIR_HIGH(a, b) paired(a, b, 2)
#endif

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
#if LANES == 16 && HIDDEN % (4 * LANES) == 0
#define TILE_COLUMNS 4
#else
#define TILE_COLUMNS 2
#endif

/* out[r][c] = start[c] + sum over k of a(r, k) b[k][c], k ascending, every addition fused; out and b are HIDDEN wide.
 * A tile of 4 rows x 2 or 4 vectors is summed in registers. 8 chains hide the latency of two fma units. Where there are
 * 32 registers, 16 chains do so in any case. */
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

/* GELU and its derivative at z. The normal density is 2^n 2^f / sqrt(2 pi) with a polynomial of degree 5 on
 * |f| <= 1/2 (minimax, our fit, 7.5e-8 relative). The distribution function is Abramowitz and Stegun's 26.2.17
 * (7.5e-8 absolute). */
#define SIDE 4 /* vectors side by side: one's chain of operations is too long for a core to look past it */
#define EACH for (int j = 0; j < SIDE; j++)
INLINE void gelu(const vf z[SIDE], vf value[SIDE], vf slope[SIDE]) {
  vf a[SIDE], w[SIDE], n[SIDE], p[SIDE], q[SIDE], u[SIDE];
  EACH a[j] = MIN((vf)((vi)z[j] & 0x7FFFFFFF), ALL(13.0f)); /* the density is 8e-38 there */
  EACH w[j] = a[j] * -0.72134752f; /* w a = -z^2/2 in units of ln 2 */
  EACH n[j] = FMA(w[j], a[j], ALL(12582912.0f)); /* 1.5 x 2^23: a whole number, in the last bits of the sum */
  EACH w[j] = FMA(w[j], a[j], 12582912.0f - n[j]);
  EACH u[j] = FMA(ALL(0.23164190f), a[j], ALL(1.0f));
  EACH u[j] = ALL(1.0f) / u[j];
  EACH p[j] = FMA(w[j], ALL(0.00052965499f), ALL(0.0038599845f));
  EACH p[j] = FMA(p[j], w[j], ALL(0.022144142f));
  EACH p[j] = FMA(p[j], w[j], ALL(0.095834392f));
  EACH p[j] = FMA(p[j], w[j], ALL(0.27652563f));
  EACH p[j] = FMA(p[j], w[j], ALL(0.39894231f));
  EACH p[j] = (vf)((vi)p[j] + ((vi)n[j] << 23)); /* the density at z */
  EACH q[j] = FMA(u[j], ALL(1.3302744f), ALL(-1.821256f));
  EACH q[j] = FMA(q[j], u[j], ALL(1.7814779f));
  EACH q[j] = FMA(q[j], u[j], ALL(-0.35656378f));
  EACH q[j] = FMA(q[j], u[j], ALL(0.31938153f));
  EACH q[j] = q[j] * (u[j] * p[j]);
  EACH q[j] = NEGATIVE(z[j], q[j], 1.0f - q[j]);
  EACH value[j] = z[j] * q[j];
  EACH slope[j] = FMA(z[j], p[j], q[j]);
}

/* MurmurHash3's finaliser (Appleby, public domain). */
#define MIX(x)                         \
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;   \
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;   \
  x = x ^ (x >> 16)
#define GOLDEN 0x9E3779B9u

struct dropout {
  uint32_t key;       /* of this member and step; see keep_masks in jax_engine.py */
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
        word = word << 16;
      } else {
        word = *kept;
      }
      mask[j] = (vf)((vi)ALL(drop.scale) & (word >= drop.threshold << 16));
    }
    EACH store(hidden + at + j * LANES, value[j] * mask[j]);
    EACH store(slope + at + j * LANES, derivative[j] * mask[j]);
  }
}

/* LANES / 4 rows of four columns, side by side in one vector. */
INLINE vf quarters(const float *at) {
#define QUARTER(q) (*(const v4 *)(at + 4 * (q) * HIDDEN))
#define TWO(q) __builtin_shufflevector(QUARTER(q), QUARTER(q + 1), 0, 1, 2, 3, 4, 5, 6, 7)
#if LANES == 16
  return __builtin_shufflevector(TWO(0), TWO(2), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
  return TWO(0);
#else
  return QUARTER(0);
#endif
}

static void transpose(const float *restrict from, float *restrict to) {
  for (long i = 0; i < HIDDEN; i += LANES)
    for (long j = 0; j < HIDDEN; j += 4) {
      const float *at = from + i * HIDDEN + j; /* rows i, i + 4, ... lie side by side in a, the next ones in b, c, d */
      vf a = quarters(at), b = quarters(at + HIDDEN), c = quarters(at + 2 * HIDDEN), d = quarters(at + 3 * HIDDEN);
      vf ab = TURN_LOW(a, b), ab2 = TURN_HIGH(a, b), cd = TURN_LOW(c, d), cd2 = TURN_HIGH(c, d);
      float *out = to + j * HIDDEN + i;
      store(out, PAIR_LOW(ab, cd));
      store(out + HIDDEN, PAIR_HIGH(ab, cd));
      store(out + 2 * HIDDEN, PAIR_LOW(ab2, cd2));
      store(out + 3 * HIDDEN, PAIR_HIGH(ab2, cd2));
    }
}

/* error := d loss / d score of each row; the score sums 16 strided parts, then halves them. */
INLINE void score_rows(struct scratch *s, const struct layout *p, float total_weight) {
  for (long row = 0; row < BATCH; row++) {
    vf whole[16 / LANES] = {0};
    for (long c = 0; c < HIDDEN; c += 16)
#pragma GCC unroll 4
      for (int i = 0; i < 16 / LANES; i++)
        whole[i] += load(s->hidden2 + row * HIDDEN + c + LANES * i) * load(p->w3 + c + LANES * i);
    const v4 *part = (const v4 *)whole;
    v4 sum = (part[0] + part[2]) + (part[1] + part[3]);
    s->error[row] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }
  float bias_gradient = 0;
  for (long row = 0; row < BATCH; row++)
    s->error[row] = (2.0f * s->weight[row]) * ((s->error[row] + p->b3[0]) - s->truth[row]) / total_weight;
  for (long row = 0; row < BATCH; row++) bias_gradient += s->error[row];
  s->gradient.b3[0] = bias_gradient;
}

INLINE void backward(struct scratch *s, const struct layout *p) {
  struct layout *g = &s->gradient;
  float *delta2 = s->slope2;
  for (long c = 0; c < HIDDEN; c += LANES) {
    vf sum = {0}, bias = {0}, w3 = load(p->w3 + c);
    for (long row = 0; row < BATCH; row++) {
      vf error = ALL(s->error[row]);
      vf delta = load(delta2 + row * HIDDEN + c) * (error * w3);
      sum = FMA(error, load(s->hidden2 + row * HIDDEN + c), sum);
      bias += delta;
      store(delta2 + row * HIDDEN + c, delta);
    }
    store(g->w3 + c, sum);
    store(g->b2 + c, bias);
  }
  product(s->hidden1, 1, HIDDEN, HIDDEN, BATCH, delta2, 0, g->w2);
  transpose(p->w2, s->w2_transposed);
  product(delta2, HIDDEN, 1, BATCH, HIDDEN, s->w2_transposed, 0, s->delta1);
  for (long c = 0; c < HIDDEN; c += LANES) {
    vf bias = {0};
    for (long row = 0; row < BATCH; row++) {
      vf delta = load(s->delta1 + row * HIDDEN + c) * load(s->slope1 + row * HIDDEN + c);
      bias += delta;
      store(s->delta1 + row * HIDDEN + c, delta);
    }
    store(g->b1 + c, bias);
  }
  product(s->inputs, 1, INPUTS, INPUTS, BATCH, s->delta1, 0, g->w1);
}

/* What changes from step to step: rate = lr / (1 - 0.9^t), correction = 1 / sqrt(1 - 0.999^t), decay = lr x decay of
 * AdamW (0 for Adam). The moments are kept without Adam's factors 0.1 and 0.001, which `train` puts in here. */
struct rates {
  float rate, correction, decay;
};

/* 1 / x for a positive x that is neither tiny nor huge: a guess by its bits, 5 % off at most (Blinn 1997). Then, with
 * e = 1 - x r, once r (1 + e + e^2), which leaves e^3, and once r (1 + e): 8e-8 relative. The divider is busy with
 * square roots. */
INLINE vf reciprocal(vf x) {
  vf r = (vf)(0x7EF311C7 - (vi)x);
  vf e = FMA(-x, r, ALL(1.0f));
  r = FMA(r, FMA(e, e, e), r);
  return FMA(r, FMA(-x, r, ALL(1.0f)), r);
}

/* Adam (Kingma and Ba 2015); `coupled` decay goes into the gradient, rates.decay does not (Loshchilov and Hutter). */
INLINE void adam(struct member *m, const struct layout *gradient, struct rates at, float coupled) {
  float *value = m->value.w1, *first = m->first.w1, *second = m->second.w1;
  const float *slopes = gradient->w1;
#pragma GCC unroll 2
  for (unsigned long i = 0; i < N_PARAMETERS; i += LANES) {
    vf w = load(value + i);
    vf g = FMA(ALL(coupled), w, load(slopes + i));
    vf mean = FMA(ALL(0.9f), load(first + i), g);
    vf square = FMA(ALL(0.999f), load(second + i), g * g);
    store(first + i, mean);
    store(second + i, square);
    vf below = FMA(SQRT(square), ALL(at.correction), ALL(1e-8f));
    vf kept = FMA(ALL(-at.decay), w, w);
    store(value + i, FMA(ALL(-at.rate) * mean, reciprocal(below), kept));
  }
}

/* NumPy's PCG64 (O'Neill 2014, XSL-RR 128/64), and where a member is in its present permutation. */
struct draws {
  unsigned __int128 state, increment;
  uint32_t spare, has_spare; /* the upper half of a word, which NumPy keeps for the next draw of 32 bits */
  uint32_t used, n_rows;     /* n_rows used: the next permutation is due */
};

INLINE uint32_t next_32(struct draws *d) {
  if (d->has_spare) {
    d->has_spare = 0;
    return d->spare;
  }
  d->state = d->state * (((unsigned __int128)0x2360ED051FC65DA4u << 64) | 0x4385DF649FCCF645u) + d->increment;
  uint64_t mixed = (uint64_t)(d->state >> 64) ^ (uint64_t)d->state;
  uint32_t turn = (uint32_t)(d->state >> 122);
  mixed = (mixed >> turn) | (mixed << (-turn & 63));
  d->spare = (uint32_t)(mixed >> 32), d->has_spare = 1;
  return (uint32_t)mixed;
}

/* NumPy's shuffle: Fisher and Yates from the end, each place drawn under a mask until it is in range. A draw out
 * of range swaps a row with itself: the processor cannot predict which, and a wrong prediction costs more. */
static void shuffle(struct draws *d, int32_t *rows) {
  uint32_t i = d->n_rows - 1;
  while (i > 0) {
    uint32_t mask = 0xFFFFFFFFu >> __builtin_clz(i), end = mask >> 1;
    while (i > end) {
      uint32_t at = next_32(d) & mask, fits = at <= i;
      at = fits ? at : i;
      int32_t row = rows[at];
      rows[at] = rows[i];
      rows[i] = row;
      i -= fits;
    }
  }
}

/* The next n_out rows of one permutation of `rows` after another; `pass` holds the present one. */
void draw(struct draws *d, const int32_t *rows, int32_t *pass, int32_t *out, uint64_t n_out) {
  while (n_out > 0) {
    if (d->used == d->n_rows) {
      memcpy(pass, rows, d->n_rows * sizeof(int32_t));
      shuffle(d, pass);
      d->used = 0;
    }
    uint64_t left = d->n_rows - d->used, taken = left < n_out ? left : n_out;
    memcpy(out, pass + d->used, taken * sizeof(int32_t));
    d->used += taken, out += taken, n_out -= taken;
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
    struct rates at = {0.1f * rates[i].rate, 0.031622777f * rates[i].correction, rates[i].decay}; /* root of 0.001 */
    adam(member, &s->gradient, at, coupled);
  }
}
