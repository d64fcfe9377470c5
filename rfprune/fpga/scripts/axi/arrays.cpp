template <class T, int N> static void load(const float *in, T (&to)[N]) {
    for (int i = 0; i < N; i++) {
        #pragma HLS UNROLL
        to[i] = (T)in[i];
    }
}

template <class T, int N> static void store(T (&from)[N], float *out) {
    for (int i = 0; i < N; i++) {
        #pragma HLS UNROLL
        out[i] = (float)from[i];
    }
}
