#ifndef NNET_WIRES_H_
#define NNET_WIRES_H_

// What rfprune adds to hls4ml's layers, for io_parallel: numbers in another order, and sums of them.

namespace nnet {

// res[i] = data[index[i]]: slices, permutations, copies. All indices are constants.
template <class data_T, class res_T, typename CONFIG_T>
void gather(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_out]) {
    #pragma HLS INLINE

Gather:
    for (unsigned i = 0; i < CONFIG_T::n_out; i++) {
        #pragma HLS UNROLL
        res[i] = data[CONFIG_T::index[i]];
    }
}

// res[i] = sum over k of data[i * step_out + k * step_sum]; the accumulator loses nothing.
template <class data_T, class res_T, typename CONFIG_T>
void sum(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_out]) {
    #pragma HLS INLINE

Outputs:
    for (unsigned i = 0; i < CONFIG_T::n_out; i++) {
        #pragma HLS UNROLL
        typename CONFIG_T::accum_t total = 0;
    Terms:
        for (unsigned k = 0; k < CONFIG_T::n_sum; k++) {
            #pragma HLS UNROLL
            total += data[i * CONFIG_T::step_out + k * CONFIG_T::step_sum];
        }
        res[i] = total;
    }
}

} // namespace nnet

#endif
