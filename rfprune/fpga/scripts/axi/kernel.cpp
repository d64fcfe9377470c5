// The design as a kernel: rows of numbers from memory, through the design, and back to memory.
//
// One call handles `rows` rows. Numbers are 32-bit floats in both directions, in the order in which
// the design reads them (test_vectors.npz; channels last in io_stream), and are rounded to the
// design's types here as they are in its test bench.
__SIZES__
#include "../hls/firmware/__PROJECT__.h"

static const int N_IN = __INPUTS__;
static const int N_OUT = __OUTPUTS__;

__HELPERS__

static void one_row(const float *in, float *out) {
__BUFFERS__
    #pragma HLS DATAFLOW
__LOADS__
    __PROJECT__(__ARGUMENTS__);
__STORES__
}

extern "C" void __KERNEL__(const float *in, float *out, unsigned rows) {
    #pragma HLS INTERFACE m_axi port=in offset=slave bundle=gmem depth=1024
    #pragma HLS INTERFACE m_axi port=out offset=slave bundle=gmem depth=1024
    #pragma HLS INTERFACE s_axilite port=in bundle=control
    #pragma HLS INTERFACE s_axilite port=out bundle=control
    #pragma HLS INTERFACE s_axilite port=rows bundle=control
    #pragma HLS INTERFACE s_axilite port=return bundle=control
    float row[N_IN], answer[N_OUT];
    for (unsigned r = 0; r < rows; r++) {
        for (int i = 0; i < N_IN; i++) {
            #pragma HLS PIPELINE
            row[i] = in[r * N_IN + i];
        }
        one_row(row, answer);
        for (int i = 0; i < N_OUT; i++) {
            #pragma HLS PIPELINE
            out[r * N_OUT + i] = answer[i];
        }
    }
}
